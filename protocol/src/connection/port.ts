import { HawserError } from '../errors.js';
import type { SkipReason } from '../frames/decoder.js';
import { FrameDecoder } from '../frames/decoder.js';
import { frameTypes } from '../frames/frame-types.js';
import type { Frame } from '../frames/header.js';
import { encodeFrame, frameFlags, headerBytes, writeHeader } from '../frames/header.js';
import type { Limits } from '../limits.js';
import type { Line, LineHandler } from '../line.js';
import type { SendStream } from './send-stream.js';

/** One virtual connection on a port. The port asks it for what is to be sent, in the order of urgency. */
export interface PortClient {
  /** A frame of its lane is coming in: a sign of life. */
  heard(): void;
  /** Bytes came that are no frame: one of its frames may have been among them. */
  skipped(bytes: number): void;
  /** A frame of its lane, greetings excepted. @returns whether the payload's memory may be reused. */
  frame(frame: Frame): boolean;
  /** The next link or message frame, link frames first. */
  nextUrgent(): Uint8Array | undefined;
  /** The next stream, in turn, that has bytes and credit; it is asked for one frame. */
  nextStream(): SendStream | undefined;
  /** The line is gone. */
  lineClosed(error: HawserError): void;
}

export interface PortHandler {
  /** `Ready`, `Hello`, `Welcome` or `Reject`, on any lane. The payload is to be read during the call. */
  greeting(frame: Frame): void;
  /** Bytes came that are no frame: noise, boot messages, damage. */
  skipped(bytes: number, reason: SkipReason): void;
  closed(error: HawserError | undefined): void;
}

export interface PortCounters {
  bytesIn: number;
  bytesOut: number;
  framesIn: number;
  framesOut: number;
  skippedBytes: number;
  skips: number;
  /** Frames of a lane, channel or type that nobody here knows. */
  framesIgnored: number;
}

/** Payloads up to this are copied behind their header, so that many frames leave in one system call. */
const copyBytesMax = 8 * 1024;
const scratchBytes = 64 * 1024;

const now = Promise.resolve();

/** Of so many callers of `flush` in one turn, one is heard. */
const callsPerFlush = 8;

/** Greetings and goodbyes that may wait for the line: one of each for every lane. */
const greetingsMax = 512;

/**
 * A line with its frames: decodes what comes and hands it to the lanes' clients, and sends what the
 * clients have, link frames first, then messages, then data in turn.
 *
 * Nothing is queued here beyond the one frame that the line took half of: what goes out next is
 * decided when the line takes it.
 */
export class Port {
  readonly line: Line;
  readonly counters: PortCounters = {
    bytesIn: 0,
    bytesOut: 0,
    framesIn: 0,
    framesOut: 0,
    skippedBytes: 0,
    skips: 0,
    framesIgnored: 0,
  };
  readonly #limits: Limits;
  readonly #handler: PortHandler;
  readonly #decoder: FrameDecoder;
  readonly #clients = new Map<number, PortClient>();
  /** The clients again, in the order in which they send: the first is next. */
  #turns: PortClient[] = [];
  readonly #greetings: Uint8Array[] = [];
  readonly #scratch = Buffer.allocUnsafeSlow(scratchBytes);
  #scratchUsed = 0;
  /** What of the last write the line did not take. */
  #restHead: Uint8Array | undefined;
  #restBody: Uint8Array | undefined;
  /** That is of a greeting, at least in part. */
  #greetingRest = false;
  /** It took less than all: nothing is written before it says `writable`. */
  #lineFull = false;
  #flushScheduled = false;
  /** In this turn. */
  #flushCalls = 0;
  readonly #flushNow = (): void => {
    this.#flushScheduled = false;
    this.#flushCalls = 0;
    this.#flush();
  };
  #afterFlush: (() => void)[] = [];
  #state: 'open' | 'closed' = 'open';

  constructor(line: Line, limits: Limits, readBufferBytes: number, handler: PortHandler) {
    this.line = line;
    this.#limits = limits;
    this.#handler = handler;
    const decoder = new FrameDecoder(
      { frame: (frame) => this.#frame(frame), skipped: (bytes, reason) => this.#skipped(bytes, reason) },
      {
        frameBytesMax: limits.greetingBytesMax,
        checkedOnly: line.mayCorrupt,
        bufferBytes: readBufferBytes,
      },
    );
    this.#decoder = decoder;
  }

  start(): void {
    const decoder = this.#decoder;
    const handler: LineHandler = {
      readBuffer: () => decoder.room(),
      received: (bytes) => {
        this.counters.bytesIn += bytes;
        decoder.advance(bytes);
        if (decoder.incompleteLane !== undefined) this.#clients.get(decoder.incompleteLane)?.heard();
      },
      writable: () => {
        this.#lineFull = false;
        this.#flush();
      },
      closed: (error) => this.#closed(error),
    };
    this.line.start(handler);
  }

  get closed(): boolean {
    return this.#state === 'closed';
  }

  /** Connections that are on this line. */
  get clientCount(): number {
    return this.#clients.size;
  }

  /** Once somebody has been greeted, frames may be as large as agreed. */
  acceptFullFrames(): void {
    this.#decoder.setLimits({ frameBytesMax: this.#limits.frameBytesMax, checkedOnly: this.line.mayCorrupt });
  }

  /** Whoever had the lane is suspended. */
  attach(lane: number, client: PortClient): void {
    const before = this.#clients.get(lane);
    this.#clients.set(lane, client);
    this.#turns = [...this.#clients.values()];
    // Afterwards: a line that carries nobody, if only for a moment, may be closed for that.
    if (before !== undefined && before !== client)
      before.lineClosed(
        new HawserError('line_closed', `another host took lane ${lane} of ${this.line.name}`),
      );
  }

  detach(lane: number, client: PortClient): void {
    if (this.#clients.get(lane) !== client) return;
    this.#clients.delete(lane);
    this.#turns = this.#turns.filter((other) => other !== client);
  }

  /** Sends a frame that belongs to no connection. Always CHECKED: nothing is agreed yet. */
  sendGreeting(type: number, lane: number, payload: Uint8Array): void {
    this.sendUnasked(encodeFrame({ type, lane, flags: frameFlags.CHECKED, payload }));
  }

  /** A greeting, or filler before one, was not taken by the line yet. */
  get greetingWaits(): boolean {
    return this.#greetings.length > 0 || this.#greetingRest;
  }

  /** As `sendLast`, for bytes that a peer may cause without end and never read: beyond a limit they are not sent. */
  sendUnasked(bytes: Uint8Array): void {
    if (this.#greetings.length >= greetingsMax) return;
    this.#greetings.push(bytes);
    this.requestFlush();
  }

  /** Sends a whole frame of a connection that is ending, before everything else. */
  sendLast(frame: Uint8Array): void {
    this.#greetings.push(frame);
    this.requestFlush();
  }

  /** Something is to be sent: it is, when what happens now has happened, so that it leaves together. */
  requestFlush(): void {
    if (this.#flushScheduled || this.#state === 'closed') return;
    this.#flushScheduled = true;
    // queueMicrotask would take three times as long: it makes an AsyncResource and a closure.
    void now.then(this.#flushNow);
  }

  /**
   * Sends what was requested to be sent now, for a caller who has done all that belongs together and for whom
   * somebody waits. Of many such callers in one turn the first one's goes ahead, the others' a few at a time: while
   * the rest are still at it, the other side has begun.
   */
  flush(): void {
    if (!this.#flushScheduled || this.#flushCalls++ % callsPerFlush !== 0) return;
    this.#flush();
  }

  /** Something is about to be sent, which takes along whatever is owed. */
  get flushDue(): boolean {
    return this.#flushScheduled;
  }

  /** Closes the line when everything that is ready to go has been taken by it. */
  closeAfterFlush(): void {
    this.#afterFlush.push(() => this.close());
    this.requestFlush();
  }

  close(): void {
    this.line.close();
  }

  #frame(frame: Frame): boolean {
    this.counters.framesIn++;
    if (frame.type <= frameTypes.Reject.id) {
      this.#handler.greeting(frame);
      return true;
    }
    const client = this.#clients.get(frame.lane);
    if (client !== undefined) return client.frame(frame);
    this.counters.framesIgnored++;
    return true;
  }

  #skipped(bytes: number, reason: SkipReason): void {
    this.counters.skippedBytes += bytes;
    this.counters.skips++;
    this.#handler.skipped(bytes, reason);
    if (reason !== 'filler') for (const client of this.#turns) client.skipped(bytes);
  }

  #closed(error: HawserError | undefined): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    const reason = error ?? new HawserError('line_closed', `${this.line.name} was closed`);
    for (const client of this.#turns) client.lineClosed(reason);
    this.#clients.clear();
    this.#turns = [];
    this.#handler.closed(error);
  }

  #flush(): void {
    while (this.#state === 'open' && !this.#lineFull) {
      if (this.#restHead !== undefined) this.#writeRest();
      else if (!this.#gather()) break;
    }
    if (this.#state === 'closed' || this.#lineFull) return;
    for (const callback of this.#afterFlush.splice(0)) callback();
  }

  #writeRest(): void {
    const head = this.#restHead as Uint8Array;
    const body = this.#restBody;
    this.#restHead = this.#restBody = undefined;
    this.#write(head, body);
  }

  #write(head: Uint8Array, body: Uint8Array | undefined): void {
    const total = head.length + (body?.length ?? 0);
    const taken = this.line.write(head, body);
    this.counters.bytesOut += taken;
    if (taken === total) {
      this.#greetingRest = false;
      return;
    }
    this.#lineFull = true;
    // The head is a view of the scratch buffer, which is written again; the body stays where it is.
    this.#restHead = Uint8Array.prototype.slice.call(head, Math.min(taken, head.length));
    this.#restBody = body?.subarray(Math.max(0, taken - head.length));
  }

  /** Writes one batch: what is urgent, then data frames in turn. @returns false when there was nothing. */
  #gather(): boolean {
    this.#scratchUsed = 0;
    let body = this.#gatherUrgent();
    // What is gathered is on its way: on a slow line it must not be more than a frame, or a signal waits for it.
    const most = Math.min(scratchBytes - headerBytes - copyBytesMax, this.line.dataBytesPreferred);
    while (body === undefined && this.#scratchUsed <= most) {
      const stream = this.#nextStream();
      if (stream === undefined) break;
      body = this.#gatherData(stream);
      // One frame of each stream, then whatever became urgent meanwhile goes before the next.
    }
    if (this.#scratchUsed === 0 && body === undefined) return false;
    this.#write(this.#scratch.subarray(0, this.#scratchUsed), body);
    return true;
  }

  /** @returns a frame too large to be copied, which ends the batch. */
  #gatherUrgent(): Uint8Array | undefined {
    for (;;) {
      const greeting = this.#greetings.shift();
      if (greeting !== undefined) this.#greetingRest = true;
      const frame = greeting ?? this.#nextUrgent();
      if (frame === undefined) return undefined;
      this.counters.framesOut++;
      if (frame.length > copyBytesMax) return frame;
      this.#scratch.set(frame, this.#scratchUsed);
      this.#scratchUsed += frame.length;
      if (this.#scratchUsed + copyBytesMax > scratchBytes) return undefined;
    }
  }

  #nextUrgent(): Uint8Array | undefined {
    for (let i = 0; i < this.#turns.length; i++) {
      const frame = (this.#turns[0] as PortClient).nextUrgent();
      if (frame !== undefined) return frame;
      if (this.#turns.length > 1) this.#turns.push(this.#turns.shift() as PortClient);
    }
    return undefined;
  }

  #nextStream(): SendStream | undefined {
    for (let i = 0; i < this.#turns.length; i++) {
      const client = this.#turns[0] as PortClient;
      if (this.#turns.length > 1) this.#turns.push(this.#turns.shift() as PortClient);
      const stream = client.nextStream();
      if (stream !== undefined) return stream;
    }
    return undefined;
  }

  /** Appends the stream's next frame to the batch. @returns its payload where that is not copied. */
  #gatherData(stream: SendStream): Uint8Array | undefined {
    const frame = stream.nextFrame(this.line.dataBytesPreferred);
    this.counters.framesOut++;
    writeHeader(this.#scratch, this.#scratchUsed, frame);
    this.#scratchUsed += headerBytes;
    if (frame.payload.length > copyBytesMax) return frame.payload;
    this.#scratch.set(frame.payload, this.#scratchUsed);
    this.#scratchUsed += frame.payload.length;
    return undefined;
  }
}
