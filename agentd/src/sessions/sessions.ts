import type { Clock, Connection, ExecRequest, Limits, Message, SpoolBudget } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import type { Containment } from '../processes/containment/containment.js';
import type { Launcher } from '../processes/launcher.js';
import type { Poller } from '../processes/poller.js';
import { Attachment } from './attachment.js';
import type { ExecPlanContext } from './exec-plan.js';
import { planExec } from './exec-plan.js';
import type { KillReason } from './exec-session.js';
import { ExecSession } from './exec-session.js';
import { KeptSessions } from './kept-sessions.js';

/** What a session needs of the agent. */
export interface SessionServices {
  readonly poller: Poller;
  readonly launcher: Launcher;
  readonly containment: Containment;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly budget: SpoolBudget;
  /** A session's launch has failed, or its leader is dead: it takes no more of `sessionsMax`. */
  stoppedRunning(): void;
  /** The leader is dead and was waited for. */
  leaderReaped(session: ExecSession): void;
  /** It has ended, nobody is attached, and it stays for whoever comes. */
  kept(session: ExecSession): void;
  /** There is nothing of it any more. */
  over(session: ExecSession): void;
}

export interface SessionsOptions {
  readonly services: Omit<SessionServices, 'stoppedRunning' | 'leaderReaped' | 'kept' | 'over'>;
  readonly context: ExecPlanContext;
  readonly sessionsMax: number;
  /** Prefix of the session ids; another one for every boot. */
  readonly bootId: string;
}

/** How far beyond its budget the unread output of ended sessions may go before no more are started. */
const overdraft = 1.5;

/** How long a killed process may take to die at a shutdown. */
const unkillableMs = 1_000;

/** All sessions of the agent: running, ended and still being read, or kept for whoever attaches. */
export class Sessions {
  readonly #options: SessionsOptions;
  readonly #services: SessionServices;
  readonly #byId = new Map<string, ExecSession>();
  /** Those whose requests had a key. */
  readonly #byKey = new Map<string, ExecSession>();
  /** Those whose leader was not waited for yet. */
  readonly #byPid = new Map<number, ExecSession>();
  readonly #kept: KeptSessions;
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
      kept: (session) => this.#kept.add(session),
      over: (session) => this.#forget(session),
    };
    this.#kept = new KeptSessions(options.services.limits, options.services.clock);
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
  exec(connection: Connection, channelNumber: number, { body }: Message & { name: 'ExecRequest' }): void {
    try {
      const known = body.key === undefined ? undefined : this.#byKey.get(body.key);
      if (known !== undefined) {
        this.#kept.take(known);
        known.repeat(new Attachment(connection, channelNumber, true));
        return;
      }
      this.#assertRoom();
      this.#start(connection, channelNumber, body);
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

  /** One more host follows a session; a refusal goes back as `Failure`. */
  attach(
    connection: Connection,
    channelNumber: number,
    { number, body }: Message & { name: 'Attach' },
  ): void {
    try {
      const session = this.#byId.get(body.sessionId);
      if (session === undefined)
        throw new HawserError('unknown_session', `no session ${JSON.stringify(body.sessionId.slice(0, 64))}`);
      session.assertAttachable(body);
      const attachment = new Attachment(connection, channelNumber, false);
      this.#kept.take(session);
      const attached = session.attach(attachment, body);
      connection.send(channelNumber, 'Attached', { re: number, ...attached });
      session.begin(attachment, attached.stdinFrom);
    } catch (error) {
      if (!(error instanceof HawserError)) throw error;
      connection.send(channelNumber, 'Failure', { re: number, code: error.code, message: error.message });
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

  #start(connection: Connection, channelNumber: number, request: ExecRequest): void {
    const plan = planExec(request, this.#options.context);
    const attachment = new Attachment(connection, channelNumber, true);
    let session: ExecSession;
    try {
      session = new ExecSession(
        this.#services,
        `${this.#options.bootId}-${++this.#started}`,
        attachment,
        plan,
      );
    } catch (error) {
      attachment.release();
      throw error;
    }
    this.#byId.set(session.id, session);
    if (plan.key !== undefined) this.#byKey.set(plan.key, session);
    this.#byPid.set(session.pid, session);
    this.#running++;
  }

  #forget(session: ExecSession): void {
    this.#byId.delete(session.id);
    if (session.key !== undefined && this.#byKey.get(session.key) === session)
      this.#byKey.delete(session.key);
    this.#kept.take(session);
  }

  /**
   * Ends every session, and starts none any more.
   *
   * @param graceMsMax what each session's own grace is cut to
   * @returns when all leaders are dead and waited for, but for those that not even SIGKILL ends
   *   because they hang in the kernel.
   */
  async terminateAll(reason: KillReason, graceMsMax = Number.POSITIVE_INFINITY): Promise<void> {
    this.#ending = true;
    if (this.#byPid.size === 0) return;
    const sessions = [...this.#byPid.values()];
    const graceMs = Math.max(...sessions.map((session) => session.killGraceMs));
    const waitMs = Math.min(graceMs, graceMsMax) + unkillableMs;
    for (const session of sessions) session.terminate(reason, graceMsMax);
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
