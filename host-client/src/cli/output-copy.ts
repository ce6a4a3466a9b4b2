import { constants, createWriteStream, fstatSync, openSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { isatty } from 'node:tty';

/**
 * Standard output or error as a stream whose `write` never blocks the event loop, so that signals and heartbeats
 * go on while the reader of a pipe or a terminal takes its time.
 */
export function openLocalOutput(fd: 1 | 2): Writable {
  const standard = fd === 1 ? process.stdout : process.stderr;
  const kind = fstatSync(fd);
  if (kind.isFIFO() || kind.isSocket()) return standard;
  // Node's own stream blocks on a terminal, and on a file it takes a short write for a whole one.
  if (!isatty(fd)) return createWriteStream('', { fd, autoClose: false });
  try {
    // A description of its own: another program may have left O_NONBLOCK on the terminal's.
    const own = openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NOCTTY);
    return createWriteStream('', { fd: own });
  } catch {
    return standard; // no /proc, or a terminal that belongs to another user
  }
}

/** Bytes that were dropped in the guest and will not come, by their positions in the output. */
export interface Gap {
  readonly from: number;
  readonly to: number;
}

interface Waiter {
  readonly position: number;
  readonly resolve: () => void;
}

/**
 * Copies an output of the command to a local one, with the local one's back-pressure, and knows up to which position
 * of it everything has been written, or will not come. It does not end the local one.
 */
export class OutputCopy {
  readonly #source: Readable;
  readonly #sink: Writable;
  /** Positions in the command's output; a gap counts as both. */
  #received: number;
  #written: number;
  #over = false;
  #waiters: Waiter[] = [];
  readonly #fail: (error: NodeJS.ErrnoException) => void;
  /** Resolves with the reason when the local output takes no more. */
  readonly failed: Promise<NodeJS.ErrnoException>;

  /** @param from position of the first byte that comes. */
  constructor(source: Readable, sink: Writable, from: number, onGap: (gap: Gap) => void) {
    this.#source = source;
    this.#sink = sink;
    this.#received = from;
    this.#written = from;
    let fail: (error: NodeJS.ErrnoException) => void = () => undefined;
    this.failed = new Promise((resolve) => {
      fail = resolve;
    });
    this.#fail = fail;
    sink.on('error', (error: NodeJS.ErrnoException) => this.#sinkFailed(error));
    sink.on('drain', () => source.resume());
    source.on('gap', (gap: Gap) => {
      this.#received += gap.to - gap.from;
      this.#written += gap.to - gap.from;
      onGap(gap);
      this.#wake();
    });
    source.on('data', (chunk: Uint8Array) => this.#copy(chunk));
    // An error of the source is the connection's, and `exited` rejects with it.
    source.on('error', () => this.#sourceOver());
    source.on('close', () => this.#sourceOver());
    source.on('end', () => this.#sourceOver());
  }

  /** When everything before that position is written, or no more will come. */
  reached(position: number): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters.push({ position, resolve });
      this.#wake();
    });
  }

  /** When everything that has come so far is written. */
  flushed(): Promise<void> {
    return this.reached(this.#received);
  }

  #copy(chunk: Uint8Array): void {
    this.#received += chunk.length;
    const more = this.#sink.write(chunk, (error) => {
      if (error) return;
      this.#written += chunk.length;
      this.#wake();
    });
    if (!more) this.#source.pause();
  }

  #sourceOver(): void {
    this.#over = true;
    this.#wake();
  }

  #sinkFailed(error: NodeJS.ErrnoException): void {
    this.#fail(error);
    this.#source.destroy();
  }

  #wake(): void {
    const drained = this.#over && this.#written === this.#received;
    this.#waiters = this.#waiters.filter(({ position, resolve }) => {
      if (this.#written < position && !drained) return true;
      resolve();
      return false;
    });
  }
}
