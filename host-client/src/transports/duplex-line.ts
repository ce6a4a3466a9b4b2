import type { Duplex, Readable, Writable } from 'node:stream';
import type { Line, LineHandler, LineKind } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import type { SocketReader } from './socket-reader.js';

/** Whoever has more to do with a line's end than its streams: a child process, for one. */
export interface LineOwner {
  /** The line is over, whichever side ended it. Called once. */
  release(): void;
  /** The peer ended the line: says why, where that is known. */
  reason(): Promise<HawserError | undefined>;
}

export interface DuplexLineOptions {
  readonly kind?: LineKind;
  readonly name?: string;
  readonly mayCorrupt?: boolean;
  readonly dataBytesPreferred?: number;
  /** Bytes that may wait in the stream's own buffer: what is decided late must not queue behind more. */
  readonly outstandingBytesMax?: number;
  /** Where the stream is a socket that reads straight into the handler's buffer. It is paused until `start`. */
  readonly reader?: SocketReader;
  /** What was read from the stream before it became a line. */
  readonly early?: Uint8Array;
  readonly owner?: LineOwner;
}

type State =
  | { at: 'idle' }
  | { at: 'open'; handler: LineHandler }
  | { at: 'ended'; reason: Promise<HawserError | undefined> }
  | { at: 'closed' };

/**
 * A line over Node streams: a socket, a child's stdin and stdout, or any `Duplex` of the user's.
 *
 * The streams are the line's from construction on, and destroyed with it.
 */
export class DuplexLine implements Line {
  readonly kind: LineKind;
  readonly name: string;
  readonly mayCorrupt: boolean;
  readonly dataBytesPreferred: number;
  readonly #readable: Readable;
  readonly #writable: Writable;
  readonly #options: DuplexLineOptions;
  readonly #outstandingBytesMax: number;
  #state: State = { at: 'idle' };
  #reading = true;
  /** The last `write` was short: `writable` is owed. */
  #waiting = false;

  constructor(stream: Duplex | { readable: Readable; writable: Writable }, options: DuplexLineOptions = {}) {
    const streams = 'write' in stream ? { readable: stream, writable: stream } : stream;
    this.#readable = streams.readable;
    this.#writable = streams.writable;
    this.#options = options;
    this.kind = options.kind ?? 'duplex';
    this.name = options.name ?? this.kind;
    this.mayCorrupt = options.mayCorrupt ?? false;
    this.dataBytesPreferred = options.dataBytesPreferred ?? 64 * 1024;
    this.#outstandingBytesMax = options.outstandingBytesMax ?? 256 * 1024;
    for (const end of new Set<Readable | Writable>([this.#readable, this.#writable])) {
      end.on('error', (error: NodeJS.ErrnoException) => this.#ended(error));
      end.on('close', () => this.#ended());
    }
    this.#readable.on('end', () => this.#ended());
  }

  start(handler: LineHandler): void {
    const state = this.#state;
    if (state.at === 'ended') {
      this.#state = { at: 'closed' };
      void state.reason.then((reason) => handler.closed(reason));
      return;
    }
    if (state.at !== 'idle')
      throw new HawserError('internal', `${this.name} was started twice, or after close`);
    this.#state = { at: 'open', handler };
    this.#options.reader?.attach(handler);
    // After the caller has returned: nothing is received inside `start`.
    queueMicrotask(() => {
      if (this.#options.early !== undefined) this.#deliver(this.#options.early);
      if (this.#options.reader === undefined)
        this.#readable.on('data', (chunk: Uint8Array) => this.#deliver(chunk));
      if (this.#reading && this.#state.at === 'open') this.#readable.resume();
      else this.#readable.pause();
    });
  }

  write(head: Uint8Array, body?: Uint8Array): number {
    if (this.#state.at !== 'open') return 0;
    const total = head.length + (body?.length ?? 0);
    const outstanding = this.#writable.writableLength;
    const taken = Math.max(0, Math.min(total, this.#outstandingBytesMax - outstanding));
    if (taken < total) this.#waiting = true;
    if (taken === 0) return 0;
    // The stream may still read it after we return, the caller may write it anew.
    const first = Buffer.from(taken < head.length ? head.subarray(0, taken) : head);
    const bodyTaken = taken - first.length;
    if (body === undefined || bodyTaken === 0) {
      // To be told of it takes Node a turn of its queue: by itself, what leaves room for as much again keeps nobody waiting.
      const alone = outstanding === 0 && taken <= this.#outstandingBytesMax / 2;
      this.#writable.write(first, alone ? undefined : this.#sent);
    } else {
      this.#writable.cork();
      this.#writable.write(first);
      this.#writable.write(bodyTaken < body.length ? body.subarray(0, bodyTaken) : body, this.#sent);
      this.#writable.uncork();
    }
    return taken;
  }

  setReading(on: boolean): void {
    if (this.#reading === on) return;
    this.#reading = on;
    if (this.#state.at !== 'open') return;
    if (on) this.#readable.resume();
    else this.#readable.pause();
  }

  close(): void {
    const state = this.#state;
    if (state.at === 'closed' || state.at === 'ended') return;
    this.#state = { at: 'closed' };
    this.#release();
    if (state.at === 'open') queueMicrotask(() => state.handler.closed());
  }

  /** A write has left the stream's buffer. Every one behind which others wait calls this, whatever the stream's high-water mark. */
  readonly #sent = (): void => {
    if (
      !this.#waiting ||
      this.#state.at !== 'open' ||
      this.#writable.writableLength >= this.#outstandingBytesMax
    )
      return;
    this.#waiting = false;
    this.#state.handler.writable();
  };

  #deliver(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length && this.#state.at === 'open'; ) {
      const { handler } = this.#state;
      const buffer = handler.readBuffer();
      const part = chunk.subarray(at, at + buffer.length);
      buffer.set(part);
      at += part.length;
      handler.received(part.length);
    }
  }

  /** The peer's doing: end of file, or an error of the stream. */
  #ended(failure?: NodeJS.ErrnoException): void {
    const state = this.#state;
    if (state.at === 'closed' || state.at === 'ended') return;
    const own = new HawserError(
      'line_closed',
      failure === undefined
        ? `${this.name} was closed by the other side`
        : `${this.name} failed: ${failure.message}`,
      {
        errno: failure?.code,
        cause: failure,
      },
    );
    const reason = this.#options.owner?.reason().then((known) => known ?? own) ?? Promise.resolve(own);
    this.#state = state.at === 'open' ? { at: 'closed' } : { at: 'ended', reason };
    this.#release();
    if (state.at === 'open') void reason.then((known) => state.handler.closed(known));
  }

  #release(): void {
    this.#options.reader?.detach();
    this.#readable.destroy();
    this.#writable.destroy();
    this.#options.owner?.release();
  }
}
