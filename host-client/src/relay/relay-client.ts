import type { Frame, HawserError, Limits, Line } from '@hawser/protocol';
import { encodeFrame, FrameDecoder, frameFlags, frameTypes } from '@hawser/protocol';
import { Fifo } from './fifo.js';
import { WaitingFrames } from './frame-scheduler.js';
import { FrameWriter } from './frame-writer.js';
import type { QueuedFrame, Urgency } from './queued-frame.js';
import { costOf, queuedFrame, urgencyOf } from './queued-frame.js';

/** What one read takes at most, bytes. */
const readBufferBytes = 256 * 1024;

/** What a client asks of the relay. */
export interface RelayClientOwner {
  readonly limits: Limits;
  /** Every frame on the shared line has to be CHECKED. */
  readonly mustCheck: boolean;
  /** Whether the shared line takes nothing now, or is not there. */
  readonly lineFull: boolean;
  send(client: RelayClient, urgency: Urgency, frame: QueuedFrame): void;
  /** What was read from the client has been handed over. */
  handedOver(): void;
  /** So many bytes more wait for the client; fewer where negative. */
  backlogChanged(client: RelayClient, bytes: number): void;
  /** It is gone; what it has sent before may still wait for the line. */
  left(client: RelayClient, reason: HawserError | undefined): void;
  /** Nothing of it waits for the line any more. */
  drained(client: RelayClient): void;
}

/**
 * - silent: it has not been greeted by the agent since the shared line was opened. What comes on its lane may be
 *   for whoever had that before, and what it sends for a connection that it has yet to resume: neither is passed on.
 * - greeted: everything is.
 * - gone: its line is closed.
 */
type ClientState = 'silent' | 'greeted' | 'gone';

/** No part of a magic, and not zero, which is filler and raises no doubt. */
const noise = 0xff;

/** One local client of a relay: its line, its lane, and what waits in both directions. Owns its line. */
export class RelayClient {
  readonly lane: number;
  /** What it has sent and the shared line has not taken. */
  readonly waiting: WaitingFrames;
  readonly #owner: RelayClientOwner;
  readonly #line: Line;
  readonly #decoder: FrameDecoder;
  readonly #writer: FrameWriter;
  readonly #backlog = new Fifo<QueuedFrame>();
  #backlogBytes = 0;
  #noiseIsLast = false;
  #reading = true;
  #state: ClientState = 'silent';

  constructor(line: Line, lane: number, owner: RelayClientOwner) {
    const { frameBytesMax } = owner.limits;
    this.lane = lane;
    this.#line = line;
    this.#owner = owner;
    this.waiting = new WaitingFrames(() => this.#taken());
    this.#decoder = new FrameDecoder(
      { frame: (frame) => this.#fromClient(frame), skipped: () => {} }, // zeros before a repeated Hello
      { frameBytesMax, checkedOnly: false, bufferBytes: readBufferBytes },
    );
    this.#writer = new FrameWriter(line, () => this.#nextOut());
  }

  start(): void {
    this.#line.start({
      readBuffer: () => this.#decoder.room(),
      received: (bytes) => {
        this.#decoder.advance(bytes);
        this.#owner.handedOver();
      },
      writable: () => this.#writer.writable(),
      closed: (error) => this.#closed(error),
    });
  }

  /** What the agent sent and the client has not taken, bytes. */
  get backlogBytes(): number {
    return this.#backlogBytes;
  }

  get gone(): boolean {
    return this.#state === 'gone';
  }

  /** A frame of its lane from the agent. @returns whether the payload's memory may be reused. */
  deliver(frame: Frame): boolean {
    if (frame.type === frameTypes.Welcome.id && this.#state === 'silent') this.#state = 'greeted';
    if (this.#state === 'gone' || (this.#state === 'silent' && urgencyOf(frame.type) !== 'greeting'))
      return true;
    const lend = this.#backlog.length === 0 && !this.#writer.full;
    const queued = queuedFrame(frame, 0, frame.flags, lend);
    this.#add(queued);
    this.#noiseIsLast = false;
    if (queued.body === undefined) return true;
    // At once, so that the next one may be lent, too.
    this.flush();
    return !lend;
  }

  /** Bytes of the shared line were lost, perhaps of a frame to this client: it hears noise too, and greets again. */
  passNoise(): void {
    if (this.#state === 'gone' || this.#noiseIsLast) return;
    this.#noiseIsLast = true;
    this.#add({ head: Uint8Array.of(noise), body: undefined });
  }

  /** A long frame is on its way: a sign of life, since the client hears nothing of it before it is whole. */
  passSignOfLife(): void {
    if (this.#state !== 'greeted' || this.#backlog.length > 0) return;
    this.#add({
      head: encodeFrame({ type: frameTypes.Pong.id, flags: frameFlags.CHECKED }),
      body: undefined,
    });
    this.#noiseIsLast = false;
  }

  /** The shared line is gone, and everything with it that was on its way. */
  lineLost(): void {
    this.waiting.clear();
    if (this.#state === 'greeted') this.#state = 'silent';
    this.passNoise();
    this.flush();
  }

  flush(): void {
    if (this.#state !== 'gone') this.#writer.flush();
  }

  close(): void {
    this.#line.close();
  }

  /** Closes its line, and drops what waits for it, at once. */
  cutOff(): void {
    this.#state = 'gone';
    this.#dropBacklog();
    this.#line.close();
  }

  // From the client

  #fromClient(frame: Frame): boolean {
    if (frame.lane !== 0 || !Number.isFinite(frame.offset)) return true; // of no client of ours
    const urgency = urgencyOf(frame.type);
    if (urgency === 'greeting') {
      if (frame.type !== frameTypes.Hello.id) return true;
      // The positions in it say what it has received; the agent's answer says what of all this has arrived.
      this.waiting.clear();
    } else if (this.#state !== 'greeted') {
      return true;
    }
    const owner = this.#owner;
    const lend = this.waiting.bytes === 0 && !owner.lineFull;
    const flags = owner.mustCheck ? frame.flags | frameFlags.CHECKED : frame.flags;
    const queued = queuedFrame(frame, this.lane, flags, lend);
    owner.send(this, urgency, queued);
    if (this.waiting.bytes >= owner.limits.relayQueueBytesMax) this.#setReading(false);
    return queued.body === undefined || !lend;
  }

  #taken(): void {
    const { relayQueueBytesMax } = this.#owner.limits;
    if (this.waiting.bytes < relayQueueBytesMax / 2) this.#setReading(true);
    if (this.waiting.bytes === 0) this.#owner.drained(this);
  }

  #setReading(on: boolean): void {
    if (this.#reading === on || this.#state === 'gone') return;
    this.#reading = on;
    this.#line.setReading(on);
  }

  // To the client

  #add(frame: QueuedFrame): void {
    const bytes = costOf(frame);
    this.#backlog.add(frame);
    this.#backlogBytes += bytes;
    this.#owner.backlogChanged(this, bytes);
  }

  #nextOut(): QueuedFrame | undefined {
    const frame = this.#backlog.take();
    if (frame === undefined) return undefined;
    const bytes = costOf(frame);
    this.#backlogBytes -= bytes;
    this.#owner.backlogChanged(this, -bytes);
    return frame;
  }

  #closed(error: HawserError | undefined): void {
    this.#state = 'gone';
    this.#dropBacklog();
    this.#owner.left(this, error);
  }

  #dropBacklog(): void {
    const bytes = this.#backlogBytes;
    this.#backlog.clear();
    this.#backlogBytes = 0;
    this.#owner.backlogChanged(this, -bytes);
  }
}
