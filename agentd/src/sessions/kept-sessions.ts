import type { Clock, Limits } from '@hawser/protocol';
import type { ExecSession } from './exec-session.js';

/** Sessions that have ended and wait for somebody to ask how, up to a number and an age. */
export class KeptSessions {
  readonly #limits: Limits;
  readonly #clock: Clock;
  /** Oldest first, each with what cancels its end. */
  readonly #sessions = new Map<ExecSession, () => void>();

  constructor(limits: Limits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** Keeps a session; the oldest goes where there are too many. One that is kept already stays as old as it is. */
  add(session: ExecSession): void {
    if (this.#sessions.has(session)) return;
    this.#sessions.set(
      session,
      this.#clock.after(this.#limits.keptSessionMs, () => this.#discard(session)),
    );
    if (this.#sessions.size <= this.#limits.keptSessionsMax) return;
    const [oldest] = this.#sessions.keys();
    if (oldest !== undefined) this.#discard(oldest);
  }

  /** Somebody has come for it, or it is over: it is not kept here any more. */
  take(session: ExecSession): void {
    this.#sessions.get(session)?.();
    this.#sessions.delete(session);
  }

  #discard(session: ExecSession): void {
    this.take(session);
    session.discard();
  }
}
