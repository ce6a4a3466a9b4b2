import type { SendStream } from '@hawser/protocol';
import type { CommandInput, SentInput } from './command-input.js';
import { sentOf } from './command-input.js';

/** A command's whole stdin, known beforehand. It leaves together with the request, as far as credit goes. */
export class InputBuffer implements CommandInput {
  #rest: Uint8Array;
  #stream: SendStream | undefined;

  constructor(bytes: Uint8Array) {
    this.#rest = bytes;
  }

  attach(stream: SendStream): void {
    this.#stream = stream;
    this.room();
  }

  room(): void {
    const stream = this.#stream as SendStream;
    if (this.#rest.length > 0) this.#rest = this.#rest.subarray(stream.write(this.#rest));
    if (this.#rest.length === 0) stream.end();
  }

  sent(): Promise<SentInput> {
    return sentOf(this.#stream);
  }

  over(): void {
    this.#rest = nothing;
  }

  ended(): void {
    this.over();
  }
}

const nothing = new Uint8Array(0);
