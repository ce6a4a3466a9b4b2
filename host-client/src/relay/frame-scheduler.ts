import { Fifo } from './fifo.js';
import type { QueuedFrame, Urgency } from './queued-frame.js';
import { costOf, urgencies } from './queued-frame.js';

/** The frames of one client that wait for the line, by urgency. */
export class WaitingFrames {
  readonly #onTaken: () => void;
  readonly #byUrgency: Readonly<Record<Urgency, Fifo<QueuedFrame>>> = {
    greeting: new Fifo(),
    link: new Fifo(),
    message: new Fifo(),
    data: new Fifo(),
  };
  /** Whether it stands in the scheduler's turns. */
  readonly inTurn: Record<Urgency, boolean> = { greeting: false, link: false, message: false, data: false };
  #bytes = 0;

  /** @param onTaken the line took one. */
  constructor(onTaken: () => void) {
    this.#onTaken = onTaken;
  }

  /** Their memory. */
  get bytes(): number {
    return this.#bytes;
  }

  add(urgency: Urgency, frame: QueuedFrame): void {
    this.#byUrgency[urgency].add(frame);
    this.#bytes += costOf(frame);
  }

  has(urgency: Urgency): boolean {
    return this.#byUrgency[urgency].length > 0;
  }

  take(urgency: Urgency): QueuedFrame | undefined {
    const frame = this.#byUrgency[urgency].take();
    if (frame === undefined) return undefined;
    this.#bytes -= costOf(frame);
    this.#onTaken();
    return frame;
  }

  clear(): void {
    for (const urgency of urgencies) this.#byUrgency[urgency].clear();
    this.#bytes = 0;
    this.#onTaken();
  }
}

/**
 * Which client's frame goes next: greetings before links, these before messages, these before data; among equals
 * one frame of each client in turn.
 */
export class FrameScheduler {
  /** Of each urgency, the clients that have such a frame, the next first. A client that was cleared may still be here. */
  readonly #turns: Readonly<Record<Urgency, Fifo<WaitingFrames>>> = {
    greeting: new Fifo(),
    link: new Fifo(),
    message: new Fifo(),
    data: new Fifo(),
  };

  add(client: WaitingFrames, urgency: Urgency, frame: QueuedFrame): void {
    client.add(urgency, frame);
    this.#queue(client, urgency);
  }

  next(): { readonly frame: QueuedFrame; readonly urgency: Urgency } | undefined {
    for (const urgency of urgencies) {
      const frame = this.#nextOf(urgency);
      if (frame !== undefined) return { frame, urgency };
    }
    return undefined;
  }

  #nextOf(urgency: Urgency): QueuedFrame | undefined {
    const turns = this.#turns[urgency];
    for (let client = turns.take(); client !== undefined; client = turns.take()) {
      client.inTurn[urgency] = false;
      const frame = client.take(urgency);
      if (frame === undefined) continue;
      if (client.has(urgency)) this.#queue(client, urgency);
      return frame;
    }
    return undefined;
  }

  #queue(client: WaitingFrames, urgency: Urgency): void {
    if (client.inTurn[urgency]) return;
    client.inTurn[urgency] = true;
    this.#turns[urgency].add(client);
  }
}
