import type { SessionRecord } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';

/** Somebody who waits for a session's end. */
export interface SessionWait {
  ended(record: SessionRecord): void;
  failed(error: HawserError): void;
  /** Nobody is there any more. */
  readonly isOver: boolean;
}

interface Session {
  readonly id: string;
  readonly record: SessionRecord;
}

/** For one session; nobody needs more. */
const waitsMax = 1024;

/** Who waits for the leaders of sessions to die. */
export class SessionWaits {
  readonly #bySession = new Map<string, Set<SessionWait>>();

  /** @throws HawserError `limit_exceeded`. */
  add(sessionId: string, wait: SessionWait): void {
    let waits = this.#bySession.get(sessionId);
    if (waits === undefined) this.#bySession.set(sessionId, (waits = new Set()));
    if (waits.size >= waitsMax) for (const other of waits) if (other.isOver) waits.delete(other);
    if (waits.size >= waitsMax)
      throw new HawserError('limit_exceeded', `${waits.size} wait for session ${sessionId} already`);
    waits.add(wait);
  }

  remove(sessionId: string, wait: SessionWait): void {
    const waits = this.#bySession.get(sessionId);
    if (waits?.delete(wait) === true && waits.size === 0) this.#bySession.delete(sessionId);
  }

  /** Its leader is dead, or it did not start. */
  settle(session: Session): void {
    if (this.#bySession.size === 0) return;
    const waits = this.#bySession.get(session.id);
    if (waits === undefined) return;
    this.#bySession.delete(session.id);
    const { record } = session;
    for (const wait of waits) {
      if (record.exit !== undefined) wait.ended(record);
      else wait.failed(new HawserError('launch_failed', `session ${session.id} did not start`));
    }
  }
}
