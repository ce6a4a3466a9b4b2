import type { Readable } from 'node:stream';

/** The first bytes of an output; what comes behind them is read all the same, and counted. */
export class BoundedOutput {
  readonly #bytesMax: number;
  readonly #chunks: Buffer[] = [];
  #kept = 0;
  #received = 0;
  #over = false;
  #wake: () => void = () => {};

  /** @param output null for none, which is over. */
  constructor(output: Readable | null, bytesMax: number) {
    this.#bytesMax = bytesMax;
    if (output === null) this.#over = true;
    output?.on('data', (chunk: Buffer) => this.#take(chunk));
    output?.once('close', () => {
      this.#over = true;
      this.#wake();
    });
  }

  /** Resolves when so many bytes came, or no more will. */
  async received(bytes: number): Promise<void> {
    while (this.#received < bytes && !this.#over)
      await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  get head(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  #take(chunk: Buffer): void {
    this.#received += chunk.length;
    const part = chunk.subarray(0, Math.max(0, this.#bytesMax - this.#kept));
    if (part.length > 0) this.#chunks.push(Buffer.from(part));
    this.#kept += part.length;
    this.#wake();
  }
}
