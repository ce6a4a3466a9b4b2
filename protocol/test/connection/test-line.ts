import type { Clock } from '../../src/connection/clock.js';
import type { HawserError } from '../../src/errors.js';
import type { Line, LineHandler, LineKind } from '../../src/line.js';
import type { WireFrame } from '../wire.js';
import { readFrames } from '../wire.js';

/** A line whose other end is the test: it takes what is written as the test says, and reads what the test sends. */
export class TestLine implements Line {
  readonly kind: LineKind = 'duplex';
  readonly name: string;
  readonly mayCorrupt: boolean;
  readonly dataBytesPreferred: number;
  /** How many of so many bytes a write takes. */
  takes: (bytes: number) => number = (bytes) => bytes;
  closed = false;
  #handler: LineHandler | undefined;
  #written: Buffer[] = [];
  #short = false;

  constructor(options: { name?: string; mayCorrupt?: boolean; dataBytesPreferred?: number } = {}) {
    this.name = options.name ?? 'test';
    this.mayCorrupt = options.mayCorrupt ?? false;
    this.dataBytesPreferred = options.dataBytesPreferred ?? 64 * 1024;
  }

  start(handler: LineHandler): void {
    this.#handler = handler;
  }

  write(head: Uint8Array, body?: Uint8Array): number {
    if (this.#short) throw new Error('a line that was full was written to before it asked');
    const total = head.length + (body?.length ?? 0);
    const taken = Math.min(total, this.takes(total));
    this.#written.push(Buffer.concat([head, body ?? Buffer.alloc(0)]).subarray(0, taken));
    this.#short = taken < total;
    return taken;
  }

  setReading(): void {}

  close(): void {
    this.fail();
  }

  /** The line goes away. */
  fail(error?: HawserError): void {
    if (this.closed) return;
    this.closed = true;
    this.#handler?.closed(error);
  }

  /** The line takes bytes again, where it had refused some. */
  unblock(): void {
    if (!this.#short || this.closed) return;
    this.#short = false;
    this.#handler?.writable();
  }

  /** What was written since the last call. */
  take(): Buffer {
    const bytes = Buffer.concat(this.#written);
    this.#written = [];
    return bytes;
  }

  /** What was written since the last call, frame by frame. */
  takeFrames(): WireFrame[] {
    return readFrames(this.take());
  }

  /** The other end sends `bytes`, which come in pieces of `size()`. */
  deliver(bytes: Uint8Array, size: () => number = () => bytes.length): void {
    for (let at = 0; at < bytes.length && !this.closed; ) {
      const room = this.#handler?.readBuffer();
      if (room === undefined || room.length === 0) throw new Error('no room to read into');
      const piece = bytes.subarray(at, at + Math.max(1, Math.min(size(), room.length)));
      room.set(piece);
      at += piece.length;
      this.#handler?.received(piece.length);
    }
  }
}

/** Lets everything happen that is to happen now. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Two lines that are each other's other end. */
export class Cable {
  readonly host: TestLine;
  readonly agent: TestLine;
  /** What becomes of bytes on the way. */
  toAgent: (bytes: Buffer) => Uint8Array = (bytes) => bytes;
  toHost: (bytes: Buffer) => Uint8Array = (bytes) => bytes;
  /** The sizes of the pieces in which they arrive. */
  size: (() => number) | undefined;

  constructor(options: ConstructorParameters<typeof TestLine>[0] = {}) {
    this.host = new TestLine({ ...options, name: 'host' });
    this.agent = new TestLine({ ...options, name: 'agent' });
  }

  /** Carries bytes both ways until there are none. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 3; quiet++) {
      await turn();
      const there = this.host.take();
      const back = this.agent.take();
      if (there.length > 0) this.agent.deliver(this.toAgent(there), this.size);
      if (back.length > 0) this.host.deliver(this.toHost(back), this.size);
      if (there.length + back.length > 0) quiet = 0;
      this.host.unblock();
      this.agent.unblock();
    }
  }
}

/** A clock that the test moves. */
export class HandClock implements Clock {
  #now = 1000;
  #timers: { at: number; callback: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { at: this.#now + ms, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  get timerCount(): number {
    return this.#timers.length;
  }

  /** Lets `ms` pass; what falls due in them is called at its time. */
  advance(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#now = Math.max(this.#now, next.at);
      this.#timers = this.#timers.filter((other) => other !== next);
      next.callback();
    }
    this.#now = until;
  }
}
