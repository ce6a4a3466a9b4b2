import { Readable } from 'node:stream';
import type { ReceiveStream } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import type { CommandOutput } from './command-output.js';

/** Chunks below this are copied out of the read buffer, bytes. */
const copyBytesMax = 16 * 1024;

/**
 * One output of a session as a Readable. Credit goes back as the application is done with what it read; an output that
 * was destroyed is read and dropped, so that nothing waits for it.
 *
 * The event `gap {from, to}` tells of bytes that were dropped before they could be sent. It waits for its
 * first listener; where there is none, the output ends in an error instead: no loss is silent.
 */
export class OutputStream extends Readable implements CommandOutput {
  #stream: ReceiveStream | undefined;
  #onSettled: () => void = () => {};
  /** Bytes that came, that the application is done with, and for which the sender was credited. */
  #pushed = 0;
  #settled = 0;
  #credited = 0;
  /** Of which nobody has heard yet. */
  readonly #untoldGaps: { readonly from: number; readonly to: number }[] = [];
  /** Somebody has begun to read: whoever wants to hear of gaps had time to say so. */
  #isRead = false;
  /** `ending`: all came, and its end is still to be told. */
  #state: 'open' | 'ending' | 'over' = 'open';

  constructor() {
    // One window may lie here: credit, not this mark, is what holds the sender back.
    super({ highWaterMark: 64 * 1024 });
    // Whoever reads hears of a lost connection by 'error'; nobody is forced to listen, since the
    // session's `exited` and `closed` tell it too.
    this.on('error', () => {});
    this.on('newListener', (event: string) => {
      if (event === 'gap') process.nextTick(() => this.#tellGaps());
    });
  }

  attach(stream: ReceiveStream, onSettled: () => void): void {
    this.#stream = stream;
    this.#onSettled = onSettled;
  }

  data(bytes: Uint8Array): boolean {
    if (this.destroyed) {
      this.#stream?.consume(bytes.length);
      return true;
    }
    this.#pushed += bytes.length;
    // A view keeps the whole read buffer that it lies in: not worth it for a few bytes.
    const small = bytes.length < copyBytesMax;
    const chunk = small ? Buffer.from(bytes) : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const isEmpty = this.readableLength === 0;
    this.push(chunk);
    // To somebody who listens it was handed over at once, and is done with.
    if (isEmpty && this.readableLength === 0) this.#settled = this.#pushed;
    this.#credit();
    return small;
  }

  end(): void {
    this.#state = 'ending';
    this.#finish();
    this.#onSettled();
  }

  /** Bytes that will not come. Positions are those of the output, from its first byte on. */
  gap(from: number, to: number): void {
    this.#untoldGaps.push({ from, to });
    if (this.listenerCount('gap') > 0) this.#tellGaps();
  }

  fail(error: HawserError): void {
    this.destroy(error);
  }

  override _read(): void {
    // Bytes come when they come: `data` pushes them.
  }

  /** Whoever reads again is done with what was read before. 0 is Node's own look. */
  override read(size?: number): unknown {
    if (size !== 0) {
      this.#settled = this.#pushed - this.readableLength;
      this.#credit();
    }
    this.#isRead ||= size !== 0 || this.listenerCount('readable') > 0;
    const chunk: unknown = super.read(size);
    this.#finish();
    return chunk;
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#settled = this.#pushed;
    this.#credit();
    callback(error);
  }

  #tellGaps(): void {
    for (const gap of this.#untoldGaps.splice(0)) this.emit('gap', gap);
    this.#finish();
  }

  /** All came. Where some of it was dropped and nobody has heard, that is told when the rest was read. */
  #finish(): void {
    if (this.#state !== 'ending') return;
    if (this.#untoldGaps.length > 0 && this.listenerCount('gap') > 0) {
      this.#tellGaps();
      return;
    }
    const [gap] = this.#untoldGaps;
    if (gap !== undefined && (this.readableLength > 0 || !this.#isRead)) return;
    this.#state = 'over';
    if (gap === undefined) {
      this.push(null);
    } else {
      const text = `bytes ${gap.from} to ${gap.to} were dropped, and nobody listened to 'gap'`;
      this.destroy(new HawserError('output_mismatch', text));
    }
  }

  /**
   * What the application is done with is forgotten by the agent, and not before: should this process be
   * killed, another goes on from there.
   */
  #credit(): void {
    const bytes = this.#settled - this.#credited;
    if (bytes <= 0) return;
    this.#credited = this.#settled;
    this.#stream?.consume(bytes);
    if (this.#stream?.finished === true) this.#onSettled();
  }
}
