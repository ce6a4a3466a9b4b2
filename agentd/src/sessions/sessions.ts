import type { Clock, Connection, Limits, Message, SpoolBudget } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import type { Launcher } from '../processes/launcher.js';
import type { Poller } from '../processes/poller.js';
import type { ExecPlanContext } from './exec-plan.js';
import { planExec } from './exec-plan.js';
import type { KillReason } from './exec-session.js';
import { ExecSession } from './exec-session.js';

/** What a session needs of the agent. */
export interface SessionServices {
  readonly poller: Poller;
  readonly launcher: Launcher;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly budget: SpoolBudget;
  /** A session's launch has failed, or its leader is dead: it takes no more of `sessionsMax`. */
  stoppedRunning(): void;
  /** The leader is dead and was waited for. */
  leaderReaped(session: ExecSession): void;
}

export interface SessionsOptions {
  readonly services: Omit<SessionServices, 'stoppedRunning' | 'leaderReaped'>;
  readonly context: ExecPlanContext;
  readonly sessionsMax: number;
  /** Prefix of the session ids; another one for every boot. */
  readonly bootId: string;
}

/** How far beyond its budget the unread output of ended sessions may go before no more are started. */
const overdraft = 1.5;

/** How long a killed process may take to die at a shutdown. */
const unkillableMs = 1_000;

/** All sessions whose leader was not waited for yet, by pid. */
export class Sessions {
  readonly #options: SessionsOptions;
  readonly #services: SessionServices;
  readonly #byPid = new Map<number, ExecSession>();
  #running = 0;
  #started = 0;
  #ending = false;
  #onAllReaped: (() => void) | undefined;

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.#services = {
      ...options.services,
      stoppedRunning: () => this.#running--,
      leaderReaped: (session) => this.#reaped(session),
    };
  }

  /** Those starting or running: a host that was told of an end has room for another at once. */
  get running(): number {
    return this.#running;
  }

  /** Sessions started since the agent was. */
  get started(): number {
    return this.#started;
  }

  /** The pid is a session's leader, which its session waits for. */
  isLeader(pid: number): boolean {
    return this.#byPid.has(pid);
  }

  /** Starts what the request asks for; a refusal goes back as `ExecFailed`. */
  exec(connection: Connection, channelNumber: number, message: Message & { name: 'ExecRequest' }): void {
    try {
      this.#assertRoom();
      const plan = planExec(message.body, this.#options.context);
      this.#start(connection, channelNumber, plan);
    } catch (error) {
      if (!(error instanceof HawserError)) throw error;
      connection.send(channelNumber, 'ExecFailed', {
        code: error.code,
        message: error.message,
        stage: error.stage ?? 'validate',
        errno: error.errno,
      });
    }
  }

  #assertRoom(): void {
    if (this.#ending) throw new HawserError('cancelled', 'the agent is shutting down');
    const { sessionsMax, services } = this.#options;
    if (this.#running >= sessionsMax) {
      throw new HawserError(
        'too_many_sessions',
        `${this.#running} sessions are running (sessionsMax ${sessionsMax})`,
      );
    }
    // Live sessions are held back by the budget; those that ended go beyond it, each by what its pipes held.
    const { bytes, bytesMax } = services.budget;
    if (bytes < overdraft * bytesMax) return;
    throw new HawserError(
      'limit_exceeded',
      `the hosts have not read ${bytes} bytes of their sessions' output (spoolBudgetBytes ${bytesMax})`,
    );
  }

  #start(connection: Connection, channelNumber: number, plan: ReturnType<typeof planExec>): void {
    let session: ExecSession | undefined;
    const channel = connection.openChannel(channelNumber, {
      message: (message) => session?.message(message),
      closed: (error) => session?.closed(error),
    });
    try {
      session = new ExecSession(this.#services, `${this.#options.bootId}-${++this.#started}`, channel, plan);
    } catch (error) {
      channel.release();
      throw error;
    }
    this.#byPid.set(session.pid, session);
    this.#running++;
  }

  /**
   * Ends every session, and starts none any more.
   *
   * @returns when all leaders are dead and waited for, but for those that not even SIGKILL ends
   *   because they hang in the kernel.
   */
  async terminateAll(reason: KillReason): Promise<void> {
    this.#ending = true;
    if (this.#byPid.size === 0) return;
    const sessions = [...this.#byPid.values()];
    const waitMs = Math.max(...sessions.map((session) => session.killGraceMs)) + unkillableMs;
    for (const session of sessions) session.terminate(reason);
    await new Promise<void>((resolve) => {
      const cancel = this.#options.services.clock.after(waitMs, resolve);
      this.#onAllReaped = () => {
        cancel();
        resolve();
      };
    });
  }

  #reaped(session: ExecSession): void {
    this.#byPid.delete(session.pid);
    if (this.#byPid.size === 0) this.#onAllReaped?.();
  }
}
