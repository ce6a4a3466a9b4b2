import type { DataFrameName } from '../frames/frame-types.js';
import { frameTypes } from '../frames/frame-types.js';
import { offsetMax } from '../frames/header.js';
import type { ReceivePosition } from './send-stream.js';

export interface StreamSink {
  /**
   * The stream's next bytes, in order and once.
   *
   * @returns whether the memory may be reused after the call; who keeps the view says false. Either
   *   way the bytes count against the sender's credit until `consume` is called.
   */
  data(bytes: Uint8Array): boolean;
  /** The stream is complete: nothing follows. */
  end(): void;
  /** Bytes from `from` up to `to` were dropped by the sender and will not come. */
  gap(from: number, to: number): void;
}

export type ReceiveFault = 'beyond_credit' | 'missing_bytes' | 'after_end';

/** What a stream needs from the connection that it is part of. */
export interface CreditSender {
  /** @param urgent the sender may be waiting for it. */
  creditDue(stream: ReceiveStream, urgent: boolean): void;
}

/** The receiving end of one stream: accepts bytes in order within the credit that it gave. */
export class ReceiveStream {
  readonly channel: number;
  readonly typeId: number;
  /** In the connection's list of streams whose credit is to be sent. */
  queued = false;
  readonly #owner: CreditSender;
  readonly #sink: StreamSink;
  /** How far beyond the consumed position the sender may go, bytes. */
  #window: number;
  #received: number;
  #consumed: number;
  #limitSent: number;
  /** The sender waits for whatever is consumed next. */
  #asked = false;
  #state: 'open' | 'ended' | 'finished' = 'open';

  /** @param options.from position of the first byte that comes; 0 unless this end came later. */
  constructor(
    owner: CreditSender,
    options: { type: DataFrameName; channel: number; window: number; sink: StreamSink; from?: number },
  ) {
    this.#owner = owner;
    this.channel = options.channel;
    this.typeId = frameTypes[options.type].id;
    this.#window = options.window;
    this.#sink = options.sink;
    const from = options.from ?? 0;
    this.#received = from;
    this.#consumed = from;
    this.#limitSent = from + options.window;
  }

  get window(): number {
    return this.#window;
  }

  get consumedBytes(): number {
    return this.#consumed;
  }

  /** Bytes that came, dropped ones included. */
  get receivedBytes(): number {
    return this.#received;
  }

  get ended(): boolean {
    return this.#state !== 'open';
  }

  /** Everything came and was consumed. */
  get finished(): boolean {
    return this.#state === 'finished';
  }

  /** The limit to tell the sender; from then on it counts as told. */
  takeLimit(): number {
    this.#limitSent = Math.max(this.#limitSent, this.#consumed + this.#window);
    return this.#limitSent;
  }

  /** How far this end is, for the sender to go on from there; the credit in it counts as told. */
  takePosition(): ReceivePosition {
    return {
      received: this.#received,
      consumed: this.#consumed,
      limit: this.takeLimit(),
      finished: this.finished,
    };
  }

  /** @returns what is wrong with the frame, where something is; the memory's fate otherwise. */
  frame(offset: number, payload: Uint8Array, fin: boolean, gap: boolean): ReceiveFault | boolean {
    const end = offset + payload.length;
    // What was dropped uses up no credit.
    const dropped = gap && this.#state === 'open' ? Math.max(0, offset - this.#received) : 0;
    if (end > offsetMax || end > this.#limitSent + dropped) return 'beyond_credit';
    if (this.#state !== 'open') {
      if (end > this.#received) return 'after_end';
      // The sender repeats its end: it does not know that the end came, or that it was consumed.
      this.#owner.creditDue(this, true);
      return true;
    }
    if (fin && end < this.#received) return 'after_end';
    if (offset > this.#received) {
      if (!gap) return 'missing_bytes';
      this.#gap(offset);
    }
    const fresh = offset < this.#received ? payload.subarray(this.#received - offset) : payload;
    this.#received += fresh.length;
    const reusable = fresh.length === 0 || this.#sink.data(fresh);
    if (fin) {
      this.#state = 'ended';
      // First, so that a sink which consumed everything already hears its end as the last of it.
      this.#settle();
      this.#sink.end();
    } else if (payload.length === 0) {
      // A frame without bytes asks how far the sender may go: our credit may have been lost, or its spool
      // holds less than the step in which we give it.
      this.#asked = this.#consumed < this.#received;
      this.#owner.creditDue(this, true);
    }
    return reusable;
  }

  /** The application is done with `bytes` more: the sender gets as much new credit. */
  consume(bytes: number): void {
    this.#consumed = Math.min(this.#consumed + bytes, this.#received);
    if (this.#settle()) return;
    const due = this.#consumed + this.#window - this.#limitSent;
    if (due < this.#window / 2 && !this.#asked) return;
    this.#asked = false;
    this.#owner.creditDue(this, true);
  }

  /** A receiver that is quick may let the sender go further ahead. What was granted is not taken back. */
  widen(windowBytes: number): void {
    if (windowBytes > this.#window) this.#window = windowBytes;
  }

  #gap(to: number): void {
    const from = this.#received;
    this.#received = to;
    this.#consumed += to - from;
    this.#limitSent += to - from;
    this.#sink.gap(from, to);
  }

  #settle(): boolean {
    if (this.#state !== 'ended' || this.#consumed < this.#received) return false;
    this.#state = 'finished';
    this.#owner.creditDue(this, false);
    return true;
  }
}
