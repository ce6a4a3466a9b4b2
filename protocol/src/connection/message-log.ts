import { HawserError } from '../errors.js';
import type { Limits } from '../limits.js';

/**
 * The numbering of one connection's messages, both ways. Numbers start at 1 and have no holes; what
 * was sent is kept until the other side has acknowledged it, so that it can be sent again.
 */
export class MessageLog {
  readonly #limits: Limits;
  /** Messages sent and not acknowledged, oldest first: number `#acked + 1` and up. */
  readonly #unacked: Uint8Array[] = [];
  #unackedBytes = 0;
  #sent = 0;
  #acked = 0;
  #received = 0;
  #ackSent = 0;
  /** A message came again: its sender did not get our acknowledgement. */
  #repeated = false;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** The number of the next message to be sent. */
  get nextNumber(): number {
    return this.#sent + 1;
  }

  /** The highest number received so far; everything up to it came. */
  get received(): number {
    return this.#received;
  }

  /** Messages received and not yet acknowledged; one that came again counts. */
  get ackDue(): number {
    return this.#received - this.#ackSent + (this.#repeated ? 1 : 0);
  }

  /** The oldest message that the other side has not acknowledged. */
  get oldestUnacked(): Uint8Array | undefined {
    return this.#unacked[0];
  }

  /** @returns what is wrong with sending `bytes` more: the other side does not acknowledge. */
  full(bytes: number): HawserError | undefined {
    const { unackedMessagesMax, unackedBytesMax } = this.#limits;
    if (this.#unacked.length < unackedMessagesMax && this.#unackedBytes + bytes <= unackedBytesMax)
      return undefined;
    return new HawserError(
      'limit_exceeded',
      `${this.#unacked.length} messages of ${this.#unackedBytes} bytes wait for acknowledgement ` +
        `(unackedMessagesMax ${unackedMessagesMax}, unackedBytesMax ${unackedBytesMax})`,
    );
  }

  /** A message was sent, for which `full` found room. */
  sent(frame: Uint8Array): void {
    this.#unacked.push(frame);
    this.#unackedBytes += frame.length;
    this.#sent++;
  }

  /** Everything that the other side may lack, oldest first. */
  get unacked(): readonly Uint8Array[] {
    return this.#unacked;
  }

  /** Whether a peer can have received everything up to `number`: not what was never sent, and not less than it said. */
  possible(number: number): boolean {
    return number >= this.#acked && number <= this.#sent;
  }

  /** @returns what to do with an incoming message of that number. */
  accept(number: number): 'next' | 'repeat' | 'missing' {
    if (number <= this.#received) {
      this.#repeated = true;
      return 'repeat';
    }
    if (number !== this.#received + 1) return 'missing';
    this.#received = number;
    return 'next';
  }

  /** The other side has everything up to `number`. @returns false when that was never sent. */
  acknowledged(number: number): boolean {
    if (number > this.#sent) return false;
    for (; this.#acked < number; this.#acked++) this.#unackedBytes -= this.#unacked.shift()?.length ?? 0;
    return true;
  }

  /** The number to acknowledge; from then on it counts as told. */
  takeAck(): number {
    this.#ackSent = this.#received;
    this.#repeated = false;
    return this.#received;
  }
}
