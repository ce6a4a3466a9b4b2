import type { Clock, Limits } from '@hawser/protocol';

/** What has ended and is kept for whoever asks. */
export interface Ended {
  readonly id: string;
  /** It is to be forgotten. */
  discard(): void;
}

/** Sessions that have ended and wait for somebody to ask how, up to a number and an age. */
export class EndedSessions<T extends Ended> {
  readonly #limits: Limits;
  readonly #clock: Clock;
  /** The oldest first, each with the time when it goes, ms. */
  readonly #byId = new Map<string, { readonly session: T; readonly until: number }>();
  /** There is one timer, for the oldest: commands that end come by the thousand. */
  #isTimed = false;

  constructor(limits: Limits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** Keeps a session; the oldest goes where there are too many. One that is kept already stays as old as it is. */
  add(session: T): void {
    if (this.#byId.get(session.id)?.session === session) return;
    this.#byId.set(session.id, { session, until: this.#clock.now() + this.#limits.keptSessionMs });
    if (this.#byId.size > this.#limits.keptSessionsMax) this.#discardOldest();
    if (!this.#isTimed) this.#lookAfter(this.#limits.keptSessionMs);
  }

  get(id: string): T | undefined {
    return this.#byId.get(id)?.session;
  }

  /** Somebody has come for it, or it is not to be known any more: it is not kept here. */
  take(id: string): void {
    this.#byId.delete(id);
  }

  *[Symbol.iterator](): IterableIterator<T> {
    for (const { session } of this.#byId.values()) yield session;
  }

  #lookAfter(ms: number): void {
    this.#isTimed = true;
    this.#clock.after(ms, () => this.#discardOld());
  }

  #discardOld(): void {
    this.#isTimed = false;
    const now = this.#clock.now();
    for (const { session, until } of this.#byId.values()) {
      if (until > now) {
        this.#lookAfter(until - now);
        return;
      }
      this.#discard(session);
    }
  }

  #discardOldest(): void {
    for (const { session } of this.#byId.values()) {
      this.#discard(session);
      return;
    }
  }

  #discard(session: T): void {
    this.take(session.id);
    session.discard();
  }
}
