import type { HawserError, ReceiveStream } from '@hawser/protocol';
import type { CommandOutput } from './command-output.js';

const nothing = Buffer.alloc(0);

/** One output of a command, collected: what `exec` returns. */
export class OutputBuffer implements CommandOutput {
  readonly #bytesMax: number;
  readonly #onExcess: () => void;
  readonly #chunks: Buffer[] = [];
  #kept = 0;
  #gap: { from: number; to: number } | undefined;
  #stream: ReceiveStream | undefined;
  #onSettled: () => void = () => {};
  #waiting: { bytes: number; resolve: () => void } | undefined;
  #state: 'open' | 'over' | 'dropped' = 'open';

  /** @param onExcess more than `bytesMax` came; what is beyond is dropped. May be called often. */
  constructor(bytesMax: number, onExcess: () => void) {
    this.#bytesMax = bytesMax;
    this.#onExcess = onExcess;
  }

  attach(stream: ReceiveStream, onSettled: () => void): void {
    this.#stream = stream;
    this.#onSettled = onSettled;
  }

  /** Resolves when `bytes` came, or there will be no more. */
  received(bytes: number): Promise<void> | undefined {
    if (this.#receivedBytes >= bytes || this.#state !== 'open') return undefined;
    return new Promise((resolve) => {
      this.#waiting = { bytes, resolve };
    });
  }

  /** The first `bytes` of it. */
  take(bytes: number): Buffer {
    if (this.#chunks.length === 0) return nothing;
    const all = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
    return all.length > bytes ? all.subarray(0, bytes) : all;
  }

  /** What still comes is nobody's. */
  drop(): void {
    this.#state = 'dropped';
    this.#chunks.length = 0;
  }

  data(bytes: Uint8Array): boolean {
    if (this.#state !== 'dropped') this.#keep(bytes);
    this.#stream?.consume(bytes.length);
    const waiting = this.#waiting;
    if (waiting !== undefined && this.#receivedBytes >= waiting.bytes) this.#wake();
    return true;
  }

  end(): void {
    this.#over();
    this.#onSettled();
  }

  gap(from: number, to: number): void {
    this.#gap ??= { from, to };
  }

  /** The first bytes that were dropped and never came, where some were. */
  get gapped(): { readonly from: number; readonly to: number } | undefined {
    return this.#gap;
  }

  fail(_error: HawserError): void {
    this.#over();
  }

  get #receivedBytes(): number {
    return this.#stream?.receivedBytes ?? 0;
  }

  #keep(bytes: Uint8Array): void {
    const room = this.#bytesMax - this.#kept;
    if (bytes.length > room) this.#onExcess();
    if (room <= 0) return;
    const part = Buffer.from(bytes.length > room ? bytes.subarray(0, room) : bytes);
    this.#chunks.push(part);
    this.#kept += part.length;
  }

  #over(): void {
    if (this.#state === 'open') this.#state = 'over';
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.resolve();
  }
}
