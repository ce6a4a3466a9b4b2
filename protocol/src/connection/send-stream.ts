import type { DataFrameName } from '../frames/frame-types.js';
import { frameTypes } from '../frames/frame-types.js';
import type { Frame } from '../frames/header.js';
import { frameFlags } from '../frames/header.js';
import type { Spool } from '../spool.js';

/** What a stream needs from the connection that it is part of. */
export interface StreamOwner {
  readonly lane: number;
  readonly checked: boolean;
  /** Largest payload of a data frame to the other end, bytes. */
  readonly dataBytesMax: number;
  /** The stream may have something to send. */
  streamReady(stream: SendStream): void;
}

/** How far the receiving end of a stream is, as it tells when a connection is resumed. */
export interface ReceivePosition {
  readonly received: number;
  readonly consumed: number;
  /** The sender must not pass this. */
  readonly limit: number;
  /** The end came, and everything was consumed. */
  readonly finished: boolean;
}

export interface SendStreamOptions {
  readonly type: DataFrameName;
  readonly channel: number;
  /** Several streams may read the same one, each at its own position. Who owns it frees it. */
  readonly spool: Spool;
  /** Position of the first byte that the receiver gets; 0 unless it came later. */
  readonly from?: number;
  /** Position behind the last byte that the receiver gets, though the spool may hold more. */
  readonly until?: number | undefined;
  /** Credit given in advance by the receiver, bytes. */
  readonly window: number;
  /** The receiver has consumed more, see `consumedBytes`. */
  readonly onConsumed: () => void;
  /** The stream needs nothing of its spool any more: all was consumed, or nobody is there. Once. */
  readonly onOver: () => void;
}

/**
 * The sending end of one stream: a position in a spool, and how far the receiver's credit reaches.
 * Everything beyond the consumed position has to stay in the spool, or is told to be lost: what the spool
 * dropped before it was sent makes a gap.
 *
 * The producer fills `spool.room()` and calls `produced`, or calls `write`; `end` when there is no more.
 */
export class SendStream {
  readonly channel: number;
  readonly spool: Spool;
  /** In the connection's list of streams that have something to send. */
  queued = false;
  readonly #owner: StreamOwner;
  readonly #onConsumed: () => void;
  readonly #onOver: () => void;
  readonly #frame: Frame;
  readonly #until: number;
  #sent: number;
  /** The furthest that was ever sent: more than `#sent` when a part is sent again. */
  #sentMax: number;
  #consumed: number;
  #limit: number;
  /** How far the receiver lets us go beyond what it has consumed, as far as is known. */
  #window: number;
  /** A frame without bytes is to be sent, which asks for credit. */
  #asking = false;
  /** The producer found no room, and nothing was consumed since. */
  #starving = false;
  #finEverSent = false;
  /** In order of their positions. */
  readonly #awaitingSent: { readonly position: number; readonly callback: () => void }[] = [];
  #state: 'producing' | 'ended' | 'fin_sent' | 'consumed' = 'producing';

  constructor(owner: StreamOwner, options: SendStreamOptions) {
    this.#owner = owner;
    this.channel = options.channel;
    this.spool = options.spool;
    this.#onConsumed = options.onConsumed;
    this.#onOver = options.onOver;
    const from = options.from ?? 0;
    this.#until = options.until ?? Number.POSITIVE_INFINITY;
    this.#sent = from;
    this.#sentMax = from;
    this.#consumed = from;
    this.#limit = from + options.window;
    this.#window = options.window;
    this.#frame = {
      type: frameTypes[options.type].id,
      flags: 0,
      lane: owner.lane,
      channel: options.channel,
      offset: 0,
      payload: nothing,
    };
  }

  get typeId(): number {
    return this.#frame.type;
  }

  /** Everything was produced, sent and consumed; or the stream was given up. */
  get consumed(): boolean {
    return this.#state === 'consumed';
  }

  /** Position of the oldest byte that can still be sent. */
  get #start(): number {
    return Math.min(this.spool.start, this.#until);
  }

  /** Position behind the last byte that there is for the receiver. */
  get #end(): number {
    return Math.min(this.spool.end, this.#until);
  }

  /** The producer has said that there is no more, or the stream was given up. */
  get ended(): boolean {
    return this.#state !== 'producing';
  }

  get sentBytes(): number {
    return this.#sent;
  }

  /** Position up to which the receiver has consumed. */
  get consumedBytes(): number {
    return this.#consumed;
  }

  /** The producer put bytes into the spool. */
  produced(): void {
    if (this.ready()) this.#owner.streamReady(this);
  }

  /** Copies bytes into the spool. @returns how many it took; below all of them, `onConsumed` follows. */
  write(bytes: Uint8Array): number {
    const taken = this.spool.write(bytes);
    if (taken > 0) this.produced();
    if (taken < bytes.length) this.starved();
    return taken;
  }

  /**
   * The producer found no room. A receiver tells what it has consumed in steps of half a window; a spool
   * that is smaller, since the budget is spent, would wait for that for ever: it asks.
   */
  starved(): void {
    this.#starving = true;
    const unconsumed = this.#end - this.#consumed;
    if (this.#state !== 'producing' || unconsumed === 0 || unconsumed >= this.#window / 2) return;
    this.#asking = true;
    this.produced();
  }

  /**
   * Calls back when everything that is in the spool now was sent at least once: it is within the credit, so it
   * comes to the receiver whatever happens to the line. Also when the stream is over.
   */
  whenSent(callback: () => void): void {
    if (this.#state === 'consumed' || this.#sentMax >= this.#end) callback();
    else this.#awaitingSent.push({ position: this.#end, callback });
  }

  end(): void {
    if (this.#state !== 'producing') return;
    this.#state = 'ended';
    this.#asking = false;
    this.produced();
  }

  ready(): boolean {
    if (this.#state === 'consumed') return false;
    const start = this.#start;
    const end = this.#end;
    // What was dropped is told at once, whatever the credit.
    if (this.#sent < start) return true;
    return this.#sent < end ? this.#sent < this.#limit : this.#state === 'ended' || this.#asking;
  }

  /** The next frame of at most `bytesMax`, to be sent now; call only when `ready`. The object is reused. */
  nextFrame(bytesMax: number): Frame {
    const frame = this.#frame;
    const start = this.#start;
    const end = this.#end;
    frame.flags = this.#owner.checked ? frameFlags.CHECKED : 0;
    frame.lane = this.#owner.lane;
    if (this.#sent < start) {
      // Bytes that do not come use up no credit.
      this.#limit += start - this.#sent;
      this.#sent = start;
      frame.flags |= frameFlags.GAP;
    }
    const bytes = Math.min(Math.min(end, this.#limit) - this.#sent, bytesMax, this.#owner.dataBytesMax);
    frame.payload = bytes > 0 ? this.spool.view(this.#sent, bytes) : nothing;
    frame.offset = this.#sent;
    this.#sent += frame.payload.length;
    this.#sentMax = Math.max(this.#sentMax, this.#sent);
    if (this.#awaitingSent.length > 0) this.#tellSent();
    if (frame.payload.length === 0) this.#asking = false;
    if (this.#state === 'ended' && this.#sent === end) {
      frame.flags |= frameFlags.FIN;
      this.#state = 'fin_sent';
      this.#finEverSent = true;
    }
    return frame;
  }

  /**
   * A frame without bytes at the position that was sent last, for a line that may have lost something:
   * the receiver either misses bytes before it, or answers with its credit.
   *
   * @returns nothing unless the receiver owes an answer.
   */
  probe(): Frame | undefined {
    if (this.#state === 'consumed' || (this.#state !== 'fin_sent' && this.#end <= this.#consumed))
      return undefined;
    const frame = this.#frame;
    frame.payload = nothing;
    frame.offset = this.#sent;
    frame.lane = this.#owner.lane;
    frame.flags =
      (this.#owner.checked ? frameFlags.CHECKED : 0) | (this.#state === 'fin_sent' ? frameFlags.FIN : 0);
    return frame;
  }

  /**
   * The receiver's credit, in absolute positions, so that repeats and disorder do no harm.
   *
   * @param limit the position that must not be passed.
   * @param consumed everything before it may be forgotten.
   * @param finished everything up to the end was consumed.
   * @returns false when that is nonsense: it speaks of bytes that were never sent.
   */
  credit(limit: number, consumed: number, finished: boolean): boolean {
    if (consumed > this.#sentMax || limit < consumed) return false;
    if (finished && (!this.#finEverSent || consumed < this.#end)) return false;
    if (this.#state === 'consumed') return true;
    if (limit > this.#limit) this.#limit = limit;
    this.#window = Math.max(this.#window, limit - consumed);
    const more = consumed > this.#consumed;
    if (more) {
      this.#consumed = consumed;
      // It was told of a position that the receiver had passed already: what it has is not to be sent again, and is
      // no gap though the spool forgets it.
      this.#sent = Math.max(this.#sent, consumed);
      this.#asking = false;
      this.#starving = false;
    }
    if (finished) this.#over();
    else if (this.ready()) this.#owner.streamReady(this);
    if (finished || more) this.#onConsumed();
    return true;
  }

  /** Whether a receiver can be there: not beyond what was sent, and not before what it has consumed. */
  possible({ received, consumed, limit, finished }: ReceivePosition): boolean {
    if (received > this.#sentMax || received < this.#consumed) return false;
    if (consumed > received || limit < received) return false;
    return !finished || (this.#finEverSent && consumed === this.#end);
  }

  /**
   * The line was lost, or something on it: goes on from where the receiver is, which `possible` has found
   * to be so. One that knows nothing of the stream is sent everything that it has not consumed.
   */
  resume(position: ReceivePosition | undefined): void {
    if (this.#state === 'consumed') return;
    if (this.#state === 'fin_sent') this.#state = 'ended';
    this.#asking = false;
    this.#sent = position?.received ?? this.#consumed;
    if (position === undefined) {
      this.produced();
      if (this.#starving) this.starved();
      return;
    }
    this.#limit = position.limit;
    this.credit(position.limit, position.consumed, position.finished);
    // The question, or its answer, may be what was lost.
    if (this.#starving) this.starved();
  }

  /** The connection or its channel is gone: nothing will be sent or asked for again. */
  abandon(): void {
    if (this.#state === 'consumed') return;
    this.#over();
  }

  #tellSent(): void {
    while ((this.#awaitingSent[0]?.position ?? Number.POSITIVE_INFINITY) <= this.#sentMax)
      queueMicrotask(this.#awaitingSent.shift()?.callback as () => void);
  }

  #over(): void {
    for (const { callback } of this.#awaitingSent.splice(0)) queueMicrotask(callback);
    this.#state = 'consumed';
    this.#sent = this.#end;
    this.#onOver();
  }
}

const nothing = new Uint8Array(0);
