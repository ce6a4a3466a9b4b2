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

/**
 * The sending end of one stream: a spool, how much of it was sent, and how far the receiver's credit
 * reaches. Everything beyond the consumed position stays in the spool.
 *
 * The producer fills `spool.room()` and calls `produced`, or calls `write`; `end` when there is no more.
 */
export class SendStream {
  readonly channel: number;
  readonly spool: Spool;
  /** In the connection's list of streams that have something to send. */
  queued = false;
  readonly #owner: StreamOwner;
  readonly #onRoom: () => void;
  readonly #frame: Frame;
  #sent: number;
  #limit: number;
  /** How far the receiver lets us go beyond what it has consumed, as far as is known. */
  #window: number;
  /** A frame without bytes is to be sent, which asks for credit. */
  #asking = false;
  #state: 'producing' | 'ended' | 'fin_sent' | 'consumed' = 'producing';

  /**
   * @param options.window credit given in advance by the receiver, bytes.
   * @param options.onRoom bytes were freed, or everything was consumed: the producer may go on.
   */
  constructor(
    owner: StreamOwner,
    options: { type: DataFrameName; channel: number; spool: Spool; window: number; onRoom: () => void },
  ) {
    this.#owner = owner;
    this.channel = options.channel;
    this.spool = options.spool;
    this.#onRoom = options.onRoom;
    this.#sent = 0;
    this.#limit = options.window;
    this.#window = options.window;
    this.#frame = {
      type: frameTypes[options.type].id,
      flags: 0,
      lane: owner.lane,
      channel: options.channel,
      offset: 0,
      payload: new Uint8Array(0),
    };
  }

  get typeId(): number {
    return this.#frame.type;
  }

  /** Everything was produced, sent and consumed. */
  get consumed(): boolean {
    return this.#state === 'consumed';
  }

  get sentBytes(): number {
    return this.#sent;
  }

  /** The producer put bytes into the spool. */
  produced(): void {
    if (this.ready()) this.#owner.streamReady(this);
  }

  /** Copies bytes into the spool. @returns how many it took; below all of them, `onRoom` follows. */
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
    if (this.#state !== 'producing' || this.spool.bytes === 0) return;
    if (this.spool.bytes >= this.#window / 2) return;
    this.#asking = true;
    this.produced();
  }

  end(): void {
    if (this.#state !== 'producing') return;
    this.#state = 'ended';
    this.#asking = false;
    this.produced();
  }

  ready(): boolean {
    const end = this.spool.end;
    if (this.#state === 'consumed') return false;
    return this.#sent < end ? this.#sent < this.#limit : this.#state === 'ended' || this.#asking;
  }

  /** The next frame of at most `bytesMax`, to be sent now; call only when `ready`. The object is reused. */
  nextFrame(bytesMax: number): Frame {
    const frame = this.#frame;
    const end = this.spool.end;
    const bytes = Math.min(Math.min(end, this.#limit) - this.#sent, bytesMax, this.#owner.dataBytesMax);
    frame.payload = bytes > 0 ? this.spool.view(this.#sent, bytes) : nothing;
    frame.offset = this.#sent;
    frame.flags = this.#owner.checked ? frameFlags.CHECKED : 0;
    this.#sent += frame.payload.length;
    if (frame.payload.length === 0) this.#asking = false;
    if (this.#state === 'ended' && this.#sent === end) {
      frame.flags |= frameFlags.FIN;
      this.#state = 'fin_sent';
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
    if (this.#state === 'consumed' || (this.#state !== 'fin_sent' && this.spool.bytes === 0))
      return undefined;
    const frame = this.#frame;
    frame.payload = nothing;
    frame.offset = this.#sent;
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
    if (consumed > this.#sent || limit < consumed) return false;
    if (finished && ((this.#state !== 'fin_sent' && this.#state !== 'consumed') || consumed < this.#sent))
      return false;
    if (limit > this.#limit) this.#limit = limit;
    this.#window = Math.max(this.#window, limit - consumed);
    const before = this.spool.bytes;
    this.spool.free(consumed);
    if (this.spool.bytes < before) this.#asking = false;
    if (finished) {
      this.#state = 'consumed';
      this.spool.close();
    } else if (this.ready()) {
      this.#owner.streamReady(this);
    }
    if (finished || this.spool.bytes < before) this.#onRoom();
    return true;
  }

  /** The connection or its channel is gone: nothing will be sent or asked for again. */
  abandon(): void {
    if (this.#state === 'consumed') return;
    this.#state = 'consumed';
    this.#sent = this.spool.end;
    this.spool.close();
  }
}

const nothing = new Uint8Array(0);
