import type { Writable } from 'node:stream';
import { HawserError } from '@hawser/protocol';
import type { Agent } from '../agent.js';
import type { Session } from '../sessions/session.js';

/** A process that does not read is given no more than this to read, bytes. */
const queuedBytesMax = 4 * 1024 * 1024;

/** This server as the writer of processes' stdin: one attachment for each, from the first write to the process's end. */
export class StdinWriters {
  readonly #writers = new Map<string, Promise<Session>>();

  /**
   * Queues bytes for a process that runs.
   *
   * @returns how many bytes wait here since the process does not read, once they are sent or `waitMs` are over.
   * @throws HawserError `invalid_argument`, `stdin_closed`, `stdin_taken`, `limit_exceeded`, and as `Agent.attach`.
   */
  async write(
    agent: Agent,
    sessionId: string,
    { bytes, end, waitMs }: { readonly bytes: Buffer; readonly end: boolean; readonly waitMs: number },
  ): Promise<number> {
    const stdin = writable(await this.#writer(agent, sessionId));
    if (stdin.writableLength + bytes.length > queuedBytesMax)
      throw new HawserError(
        'limit_exceeded',
        `process ${sessionId} does not read its stdin: ${stdin.writableLength} bytes wait already, at most ${queuedBytesMax} may. Wait until it reads, or end it with kill_process`,
      );
    const written = new Promise<void>((resolve, reject) => {
      const done = (error?: Error | null): void => (error ? reject(error) : resolve());
      if (end) stdin.end(bytes, done);
      else stdin.write(bytes, done);
    });
    await within(waitMs, written);
    return stdin.writableLength;
  }

  /** Leaves every process to itself, when what was written to it is sent, or `waitMs` are over. */
  async leave(waitMs: number): Promise<void> {
    const left = [...this.#writers.values()].map(async (attaching) => (await attaching).detach());
    await within(waitMs, Promise.allSettled(left));
  }

  async #writer(agent: Agent, sessionId: string): Promise<Session> {
    const known = this.#writers.get(sessionId);
    if (known !== undefined) return known;
    const attaching = agent.attach(sessionId, { stdin: true, from: 'none' });
    this.#writers.set(sessionId, attaching);
    const forget = (): void => {
      if (this.#writers.get(sessionId) === attaching) this.#writers.delete(sessionId);
    };
    attaching
      .then((session) => {
        // Where another host has taken over, the next call takes over again; where the command reads no more, it is told.
        session.stdin?.once('error', (error) => {
          if (error instanceof HawserError && error.code === 'stdin_taken') forget();
        });
        return session.exited.finally(forget);
      })
      .catch(forget);
    return attaching;
  }
}

/** @throws HawserError `invalid_argument` where there is no stdin, or no more; `stdin_closed`. */
function writable({ id, stdin }: Session): Writable {
  if (stdin === null)
    throw new HawserError(
      'invalid_argument',
      `process ${id} was started without stdin: start it again with {"stdin": true}`,
    );
  if (stdin.errored) throw stdin.errored;
  if (stdin.writableEnded)
    throw new HawserError(
      'invalid_argument',
      `the stdin of process ${id} was closed by an earlier call: nothing can be written any more`,
    );
  return stdin;
}

/** Resolves after `ms` at the latest; what `work` rejects with later is nobody's. */
async function within(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeOver = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)));
  try {
    await Promise.race([work, timeOver]);
  } finally {
    clearTimeout(timer);
  }
}
