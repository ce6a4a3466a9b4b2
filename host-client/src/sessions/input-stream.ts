import { Writable } from 'node:stream';
import type { SendStream } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import type { CommandInput, SentInput } from './command-input.js';
import { sentOf } from './command-input.js';

/**
 * A session's stdin as a Writable. A write is done when its bytes are in the spool, where they stay
 * until the agent has taken them; a full spool holds the writer back.
 *
 * When the command closes its end, `error` comes with code `stdin_closed`; the session goes on.
 */
export class InputStream extends Writable implements CommandInput {
  #stream: SendStream | undefined;
  #onWritten: (() => void) | undefined;
  #waiting: { bytes: Uint8Array; done: (error?: Error | null) => void } | undefined;

  constructor() {
    super({ highWaterMark: 64 * 1024, decodeStrings: true });
    // Nobody has to listen: a command that stops reading is no fault of the program that feeds it.
    this.on('error', () => {});
  }

  attach(stream: SendStream): void {
    this.#stream = stream;
  }

  room(): void {
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    this.#waiting = undefined;
    this.#put(waiting.bytes, waiting.done);
  }

  async sent(): Promise<SentInput> {
    // What waits for room in the spool comes after what is in it, and the end after that.
    while (!this.destroyed && this.#isWriting)
      await new Promise<void>((resolve) => (this.#onWritten = resolve));
    return sentOf(this.#stream);
  }

  get #isWriting(): boolean {
    if (this.#waiting !== undefined || this.writableLength > 0) return true;
    return this.writableEnded && !this.writableFinished;
  }

  over(error: HawserError): void {
    if (!this.writableFinished) this.destroy(error);
  }

  ended(): void {
    // Nobody reads what is written from now on: it waits for the error.
    this.#stream = undefined;
    if (this.writableFinished) return;
    // When whoever waits for the exit was told: to end a stream in an error takes Node longer than all else of an exit.
    setImmediate(() => this.over(new HawserError('stdin_closed', 'the command has ended')));
  }

  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error | null) => void): void {
    this.#put(chunk, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#stream?.end();
    done();
    this.#written();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    this.#written();
    waiting?.done(error ?? new HawserError('stdin_closed', 'stdin was destroyed'));
    // The command must not wait for what nobody will send.
    this.#stream?.end();
    done(error);
  }

  #written(): void {
    const resolve = this.#onWritten;
    this.#onWritten = undefined;
    // The stream counts a write as done after its callback.
    if (resolve !== undefined) setImmediate(resolve);
  }

  #put(bytes: Uint8Array, done: (error?: Error | null) => void): void {
    const taken = this.#stream?.write(bytes) ?? 0;
    if (taken === bytes.length) {
      done();
      this.#written();
    } else {
      this.#waiting = { bytes: bytes.subarray(taken), done };
    }
  }
}
