import type { Line } from '@hawser/protocol';
import { headerBytes } from '@hawser/protocol';
import type { QueuedFrame } from './queued-frame.js';
import { copyBytesMax } from './queued-frame.js';

/** Filled and written in one go, so one serves all writers. */
const scratch = Buffer.allocUnsafeSlow(64 * 1024);

/**
 * Writes frames to a line, as many as it takes. Beyond the one write of which the line took a part nothing is
 * held here: what goes next is asked for when the line takes it.
 */
export class FrameWriter {
  readonly #line: Line;
  readonly #next: () => QueuedFrame | undefined;
  readonly #batchBytes: number;
  #full = false;
  #restHead: Uint8Array | undefined;
  #restBody: Uint8Array | undefined;

  /** @param next the frame that goes next; it counts as sent. */
  constructor(line: Line, next: () => QueuedFrame | undefined) {
    this.#line = line;
    this.#next = next;
    // A slow line gets little at a time, or what becomes urgent would wait behind all of it.
    this.#batchBytes = Math.min(line.dataBytesPreferred, scratch.length - headerBytes - copyBytesMax);
  }

  /** The line takes nothing now; `writable` is to be called when it does. */
  get full(): boolean {
    return this.#full;
  }

  flush(): void {
    while (!this.#full) {
      if (this.#restHead !== undefined) this.#writeRest();
      else if (!this.#writeBatch()) return;
    }
  }

  writable(): void {
    this.#full = false;
    this.flush();
  }

  /** @returns false when there was nothing. */
  #writeBatch(): boolean {
    let used = 0;
    let body: Uint8Array | undefined;
    while (body === undefined && used <= this.#batchBytes) {
      const frame = this.#next();
      if (frame === undefined) break;
      scratch.set(frame.head, used);
      used += frame.head.length;
      body = frame.body;
    }
    if (used === 0 && body === undefined) return false;
    this.#write(scratch.subarray(0, used), body);
    return true;
  }

  #writeRest(): void {
    const head = this.#restHead as Uint8Array;
    const body = this.#restBody;
    this.#restHead = this.#restBody = undefined;
    this.#write(head, body);
  }

  #write(head: Uint8Array, body: Uint8Array | undefined): void {
    const taken = this.#line.write(head, body);
    if (taken === head.length + (body?.length ?? 0)) return;
    this.#full = true;
    // The head is a view of what is written anew; the body stays where it is.
    this.#restHead = Uint8Array.prototype.slice.call(head, Math.min(taken, head.length));
    this.#restBody = body?.subarray(Math.max(0, taken - head.length));
  }
}
