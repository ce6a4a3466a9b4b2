import type { Clock, Frame, HawserError, Limits, Line, MessageCodec } from '@hawser/protocol';
import { frameTypes } from '@hawser/protocol';
import { FrameScheduler } from './frame-scheduler.js';
import type { QueuedFrame, Urgency } from './queued-frame.js';
import { refuseClient } from './refused-client.js';
import type { RelayClientOwner } from './relay-client.js';
import { RelayClient } from './relay-client.js';
import { SharedLine } from './shared-line.js';

export type RelayEvent =
  | { readonly kind: 'joined'; readonly lane: number }
  | { readonly kind: 'left'; readonly lane: number; readonly reason: HawserError | undefined }
  /** It took nothing, and more waited for it than a relay keeps. */
  | { readonly kind: 'cut_off'; readonly lane: number; readonly backlogBytes: number }
  | { readonly kind: 'refused' };

export interface RelayOptions {
  /** The shared line's name, for messages. */
  readonly name: string;
  readonly limits: Limits;
  readonly codec: MessageCodec;
  readonly clock: Clock;
  event(event: RelayEvent): void;
  /** The shared line is gone; `open` may be called with another. */
  lineClosed(error: HawserError | undefined): void;
}

/** Clients hear so often that a long frame is on its way, ms. */
const signOfLifeMs = 1_000;

/**
 * Shares one line among clients, each on a lane of its own. It rewrites the lane and the checksums, knows greetings
 * and the class of a frame by its type, and reads nothing else.
 *
 * Nothing that a client does delays another: the line is always read, what a client does not take waits for it
 * apart and within limits, and what the clients send goes one frame of each in turn.
 */
export class Relay implements RelayClientOwner {
  readonly limits: Limits;
  readonly #options: RelayOptions;
  /** By lane. One that is gone stays until everything is sent that it has sent: its lane is not free before. */
  readonly #clients = new Map<number, RelayClient>();
  readonly #frames = new FrameScheduler();
  readonly #touched = new Set<RelayClient>();
  #line: SharedLine | undefined;
  /** The lane that was given last: the next one up is next, so that each rests as long as can be. */
  #lastLane = 0;
  #backlogBytes = 0;
  #signOfLifeAt = Number.NEGATIVE_INFINITY;
  #refused = 0;

  constructor(options: RelayOptions) {
    this.#options = options;
    this.limits = options.limits;
  }

  /** Clients that are there now. */
  get clientCount(): number {
    let count = 0;
    for (const client of this.#clients.values()) if (!client.gone) count++;
    return count;
  }

  /** The shared line was opened. It is the relay's from now on. */
  open(line: Line): void {
    const { limits, clock } = this.#options;
    const shared: SharedLine = new SharedLine(
      line,
      { limits, clock, frames: this.#frames },
      {
        frame: (frame) => this.#fromAgent(frame),
        handedOver: () => this.#flushTouched(),
        coming: (lane) => this.#coming(lane),
        skipped: () => this.#noise(),
        closed: (error) => this.#lineClosed(shared, error),
      },
    );
    this.#line = shared;
    shared.start();
  }

  /** A client has connected. Its line is the relay's from now on. */
  accept(line: Line): void {
    const lane = this.#freeLane();
    if (lane === undefined) {
      this.#refuse(line);
      return;
    }
    this.#lastLane = lane;
    const client = new RelayClient(line, lane, this);
    this.#clients.set(lane, client);
    client.start();
    this.#options.event({ kind: 'joined', lane });
  }

  /** Closes every line. */
  close(): void {
    for (const client of this.#clients.values()) client.close();
    this.#line?.close();
  }

  // What clients ask

  get mustCheck(): boolean {
    return this.#line?.mayCorrupt ?? false;
  }

  get lineFull(): boolean {
    return this.#line?.full ?? true;
  }

  send(client: RelayClient, urgency: Urgency, frame: QueuedFrame): void {
    this.#frames.add(client.waiting, urgency, frame);
    // A large payload may be lent as long as nothing waits before it.
    if (frame.body !== undefined) this.#line?.flush();
  }

  handedOver(): void {
    this.#line?.flush();
  }

  backlogChanged(client: RelayClient, bytes: number): void {
    this.#backlogBytes += bytes;
    if (bytes > 0) this.#touched.add(client);
  }

  left(client: RelayClient, reason: HawserError | undefined): void {
    this.#touched.delete(client);
    if (this.#line === undefined) client.waiting.clear();
    this.#options.event({ kind: 'left', lane: client.lane, reason });
    this.drained(client);
  }

  drained(client: RelayClient): void {
    if (!client.gone || client.waiting.bytes > 0) return;
    if (this.#clients.get(client.lane) === client) this.#clients.delete(client.lane);
  }

  // From the agent

  #fromAgent(frame: Frame): boolean {
    if (!Number.isFinite(frame.offset)) return true;
    if (frame.lane !== 0) return this.#clients.get(frame.lane)?.deliver(frame) ?? true;
    // Lane 0 is nobody's; a Ready there says that the agent has opened the line anew, to everybody.
    if (frame.type === frameTypes.Ready.id)
      for (const client of this.#clients.values()) client.deliver(frame);
    return true;
  }

  #coming(lane: number): void {
    const now = this.#options.clock.now();
    if (now - this.#signOfLifeAt < signOfLifeMs) return;
    this.#signOfLifeAt = now;
    this.#clients.get(lane)?.passSignOfLife();
  }

  #noise(): void {
    for (const client of this.#clients.values()) client.passNoise();
  }

  #flushTouched(): void {
    for (const client of this.#touched) client.flush();
    for (const client of this.#touched)
      if (client.backlogBytes > this.limits.relayClientBytesMax) this.#cutOff(client);
    this.#touched.clear();
    while (this.#backlogBytes > this.limits.relayBytesMax) this.#cutOff(this.#slowest());
  }

  /** The agent keeps what the client has not consumed: it goes on from there when it has connected again. */
  #cutOff(client: RelayClient): void {
    if (client.gone) return;
    this.#options.event({ kind: 'cut_off', lane: client.lane, backlogBytes: client.backlogBytes });
    client.cutOff();
  }

  #slowest(): RelayClient {
    return [...this.#clients.values()].reduce((a, b) => (b.backlogBytes > a.backlogBytes ? b : a));
  }

  #lineClosed(line: SharedLine, error: HawserError | undefined): void {
    if (this.#line !== line) return;
    this.#line = undefined;
    for (const client of this.#clients.values()) client.lineLost();
    this.#touched.clear();
    this.#options.lineClosed(error);
  }

  // Lanes

  #freeLane(): number | undefined {
    const lanes = this.limits.lanesMax - 1;
    for (let step = 0; step < lanes; step++) {
      const lane = ((this.#lastLane + step) % lanes) + 1;
      if (!this.#clients.has(lane)) return lane;
    }
    return undefined;
  }

  #refuse(line: Line): void {
    this.#options.event({ kind: 'refused' });
    const { name, codec, limits, clock } = this.#options;
    this.#refused++;
    refuseClient(line, {
      text: `the relay of ${name} has its ${limits.lanesMax - 1} clients (lanesMax ${limits.lanesMax})`,
      patient: this.#refused <= refusedMax,
      codec,
      limits,
      clock,
      closed: () => this.#refused--,
    });
  }
}

/** Clients beyond the lanes that are told why, at a time; more are hung up on. */
const refusedMax = 64;
