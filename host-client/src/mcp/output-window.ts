import type { SessionOutput } from '../sessions/session-output.js';
import { wholeCharacters } from './output-text.js';

export type StreamName = 'stdout' | 'stderr';

/** Bytes of one output that lie together. */
export interface Window {
  /** Position of the first. */
  readonly from: number;
  readonly bytes: Buffer;
  /** There is no more to come, now or ever: nobody holds the output any more. */
  readonly closed: boolean;
}

export interface WindowLimits {
  readonly bytesMax: number;
  /** How long the first is waited for where there are none. */
  readonly waitMs: number;
  readonly signal: AbortSignal;
}

/**
 * Reads on from where `reading` begins, at a place behind which bytes are kept: up to `bytesMax`, or to where bytes are
 * missing, or as far as there is something now; where there is nothing, until something comes.
 */
export class WindowReader {
  readonly #limits: WindowLimits;
  readonly #chunks: Buffer[] = [];
  /** Behind the newest byte that there was at the beginning. */
  readonly #nowEnd: number;
  /** Bytes that are not kept any more, in order. */
  readonly #gaps: { readonly from: number; readonly to: number }[] = [];
  #from: number;
  #bytes = 0;
  #closed = false;
  #full = false;
  #error: Error | undefined;
  #wake: () => void = () => {};

  constructor(reading: SessionOutput, name: StreamName, limits: WindowLimits) {
    const position = reading.positions[name];
    const output = reading[name];
    this.#limits = limits;
    this.#from = position?.from ?? 0;
    this.#nowEnd = position?.end ?? 0;
    if (output === null) {
      this.#closed = true;
      return;
    }
    output.on('gap', (gap: { from: number; to: number }) => {
      this.#gaps.push(gap);
      this.#skip();
      this.#wake();
    });
    output.on('data', (chunk: Buffer) => {
      this.#take(chunk);
      this.#wake();
    });
    output.once('end', () => {
      this.#closed = true;
      this.#wake();
    });
    output.once('error', (error: Error) => {
      this.#error = error;
      this.#wake();
    });
  }

  /** @throws HawserError where the connection ends. */
  async window(): Promise<Window> {
    const { signal, waitMs } = this.#limits;
    let isTimeOver = false;
    const onAbort = (): void => this.#wake();
    const timer = setTimeout(() => {
      isTimeOver = true;
      this.#wake();
    }, waitMs);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      while (!this.#isDone(isTimeOver)) await new Promise<void>((resolve) => (this.#wake = resolve));
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
    if (this.#error !== undefined) throw this.#error;
    return { from: this.#from, bytes: Buffer.concat(this.#chunks), closed: this.#closed && !this.#full };
  }

  get #end(): number {
    return this.#from + this.#bytes;
  }

  #isDone(isTimeOver: boolean): boolean {
    if (this.#error !== undefined || this.#closed || this.#full || this.#limits.signal.aborted) return true;
    // What is there comes for sure, whatever the clock says.
    if (this.#end < this.#nowEnd) return false;
    return isTimeOver || this.#hasCharacter;
  }

  /** A part of a character is waited for to become one. */
  get #hasCharacter(): boolean {
    return this.#bytes > 3 || wholeCharacters(Buffer.concat(this.#chunks)) > 0;
  }

  #take(chunk: Buffer): void {
    this.#skip();
    if (this.#full) return;
    const part = chunk.subarray(0, this.#limits.bytesMax - this.#bytes);
    this.#chunks.push(Buffer.from(part));
    this.#bytes += part.length;
    if (part.length < chunk.length || this.#bytes === this.#limits.bytesMax) this.#full = true;
  }

  /** A gap before the first byte moves the window; one behind some ends it. */
  #skip(): void {
    while (this.#gaps[0]?.from === this.#end) {
      if (this.#bytes > 0) {
        this.#full = true;
        return;
      }
      this.#from = this.#gaps.shift()?.to ?? this.#from;
    }
  }
}
