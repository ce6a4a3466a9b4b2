import type { Clock, Limits } from '@hawser/protocol';
import { fillerBytes, fillersUnheard, hellosOnSoundLine } from '@hawser/protocol';

/**
 * Zeros before a `Hello` that is not the first, on a line that was just opened: whoever held it before may have left
 * half a frame there, and the agent waits for the rest. The same as a host does that has the line to itself, but
 * for all clients together, and no more often than one of them would.
 */
export class LineFiller {
  readonly #limits: Limits;
  readonly #clock: Clock;
  readonly #hellosBefore: number;
  #hellos = 0;
  #fillers = 0;
  #intervalMs: number;
  #lastAt: number;
  #answered = false;

  constructor(mayCorrupt: boolean, limits: Limits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
    this.#hellosBefore = mayCorrupt ? 1 : hellosOnSoundLine;
    this.#intervalMs = limits.helloIntervalMs;
    this.#lastAt = clock.now();
  }

  /** The agent has answered a greeting: it takes our frames for what they are. */
  answered(): void {
    this.#answered = true;
  }

  /** A `Hello` is about to go. @returns what is to go before it. @param heard anything came over the line. */
  beforeHello(heard: boolean): Uint8Array | undefined {
    if (this.#answered || ++this.#hellos <= this.#hellosBefore) return undefined;
    const now = this.#clock.now();
    if (now - this.#lastAt < this.#intervalMs) return undefined;
    // A guest that still boots has to read all of it.
    if (this.#fillers >= fillersUnheard && !heard) return undefined;
    this.#lastAt = now;
    this.#intervalMs = Math.min(this.#intervalMs * 2, this.#limits.helloIntervalMaxMs);
    const step = Math.min(this.#fillers++, fillerBytes.length - 1);
    return new Uint8Array(fillerBytes[step] as number);
  }
}
