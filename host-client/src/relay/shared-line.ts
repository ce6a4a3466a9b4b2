import type { Clock, Frame, HawserError, Limits, Line } from '@hawser/protocol';
import { FrameDecoder, frameTypes } from '@hawser/protocol';
import type { FrameScheduler } from './frame-scheduler.js';
import { FrameWriter } from './frame-writer.js';
import { LineFiller } from './line-filler.js';
import type { QueuedFrame } from './queued-frame.js';

/** What one read takes at most, bytes. */
const readBufferBytes = 512 * 1024;

export interface SharedLineHandler {
  /** A frame from the agent. @returns whether its memory may be reused. */
  frame(frame: Frame): boolean;
  /** What was read has been handed over. */
  handedOver(): void;
  /** A long frame is on its way to that lane. */
  coming(lane: number): void;
  /** Bytes came that are no frame. */
  skipped(bytes: number): void;
  closed(error: HawserError | undefined): void;
}

/** The line to the agent, from when it was opened until it is closed. Owns it. */
export class SharedLine {
  readonly #line: Line;
  readonly #handler: SharedLineHandler;
  readonly #decoder: FrameDecoder;
  readonly #writer: FrameWriter;
  readonly #filler: LineFiller;
  readonly #frames: FrameScheduler;
  /** The `Hello` that had to wait for the filler before it. */
  #held: QueuedFrame | undefined;
  #heard = false;

  constructor(
    line: Line,
    options: { limits: Limits; clock: Clock; frames: FrameScheduler },
    handler: SharedLineHandler,
  ) {
    const { limits, clock, frames } = options;
    this.#line = line;
    this.#handler = handler;
    this.#frames = frames;
    this.#filler = new LineFiller(line.mayCorrupt, limits, clock);
    this.#writer = new FrameWriter(line, () => this.#next());
    this.#decoder = new FrameDecoder(
      { frame: (frame) => this.#frame(frame), skipped: (bytes) => handler.skipped(bytes) },
      {
        frameBytesMax: limits.frameBytesMax,
        checkedOnly: line.mayCorrupt,
        bufferBytes: readBufferBytes,
      },
    );
  }

  start(): void {
    this.#line.start({
      readBuffer: () => this.#decoder.room(),
      received: (bytes) => this.#received(bytes),
      writable: () => this.#writer.writable(),
      closed: (error) => this.#handler.closed(error),
    });
    this.flush();
  }

  /** Every frame on it has to be CHECKED. */
  get mayCorrupt(): boolean {
    return this.#line.mayCorrupt;
  }

  /** It takes no more now. */
  get full(): boolean {
    return this.#writer.full;
  }

  /** Sends what waits, as much as the line takes. */
  flush(): void {
    this.#writer.flush();
  }

  close(): void {
    this.#line.close();
  }

  #received(bytes: number): void {
    this.#heard = true;
    this.#decoder.advance(bytes);
    if (this.#decoder.incompleteLane !== undefined) this.#handler.coming(this.#decoder.incompleteLane);
    this.#handler.handedOver();
  }

  #frame(frame: Frame): boolean {
    if (frame.type === frameTypes.Welcome.id || frame.type === frameTypes.Reject.id) this.#filler.answered();
    return this.#handler.frame(frame);
  }

  #next(): QueuedFrame | undefined {
    const held = this.#held;
    if (held !== undefined) {
      this.#held = undefined;
      return held;
    }
    const next = this.#frames.next();
    if (next?.urgency !== 'greeting') return next?.frame;
    const filler = this.#filler.beforeHello(this.#heard);
    if (filler === undefined) return next.frame;
    this.#held = next.frame;
    return { head: new Uint8Array(0), body: filler };
  }
}
