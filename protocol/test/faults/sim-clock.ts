import type { Clock } from '../../src/connection/clock.js';

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly callback: () => void;
  /** Of the machinery of the simulation: no resource of an end. */
  readonly ours: boolean;
}

/** Simulated time: nothing waits, timers fire in order, and what they cause has happened before the next one does. */
export class SimClock implements Clock {
  #now = 0;
  #order = 0;
  readonly #timers = new Set<Timer>();

  now(): number {
    return this.#now;
  }

  after(ms: number, callback: () => void): () => void {
    return this.#add(ms, callback, false);
  }

  /** As `after`, for what is not under test. */
  afterOurs(ms: number, callback: () => void): () => void {
    return this.#add(ms, callback, true);
  }

  /** Timers that an end has set and neither cancelled nor seen fire. */
  get timersOfEnds(): number {
    return [...this.#timers].filter(({ ours }) => !ours).length;
  }

  /** Lets time pass until `done`, or until `untilMs`. @returns whether it is done. */
  async run(untilMs: number, done: () => boolean = () => false): Promise<boolean> {
    for (;;) {
      await microtasks();
      if (done()) return true;
      let next: Timer | undefined;
      for (const timer of this.#timers) {
        if (next === undefined || timer.at < next.at || (timer.at === next.at && timer.order < next.order))
          next = timer;
      }
      if (next === undefined || next.at > untilMs) {
        this.#now = Math.max(this.#now, untilMs);
        return done();
      }
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.callback();
    }
  }

  #add(ms: number, callback: () => void, ours: boolean): () => void {
    const timer: Timer = { at: this.#now + Math.max(0, ms), order: this.#order++, callback, ours };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }
}

/** A port flushes in a microtask, which may cause another. */
async function microtasks(): Promise<void> {
  for (let i = 0; i < 4; i++) await Promise.resolve();
}
