import type { Clock, Connection, ExecRequest, Message, Payload, SessionRecord } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import { Attachment } from '../sessions/attachment.js';
import type { ExecPlanContext } from '../sessions/exec-plan.js';
import { planExec } from '../sessions/exec-plan.js';
import type { KillReason } from '../sessions/exec-session.js';
import { ExecSession } from '../sessions/exec-session.js';
import type { SessionServices } from '../sessions/session-services.js';
import { EndedSession, unknownSession } from './ended-session.js';
import { EndedSessions } from './ended-sessions.js';
import { SessionWaits } from './session-waits.js';

export interface RegistryOptions {
  readonly services: Omit<SessionServices, 'running' | 'stoppedRunning' | 'leaderReaped' | 'kept' | 'over'>;
  readonly context: ExecPlanContext;
  readonly sessionsMax: number;
  /** Prefix of the session ids; another one for every boot. */
  readonly bootId: string;
}

/** Which sessions of the registry are meant. */
export type SessionFilter = Pick<Payload<'List'>, 'labels' | 'states' | 'after'>;

type KnownSession = ExecSession | EndedSession;

/** How far beyond its budget the unread output of ended sessions may go before no more are started. */
const overdraft = 1.5;

/** How long a killed process may take to die at a shutdown. */
const unkillableMs = 1_000;

/**
 * All sessions of the agent: those that run, those that have ended and are still being read or are kept for whoever
 * attaches, and what is known of others that have ended.
 */
export class Registry {
  readonly waits = new SessionWaits();
  readonly #options: RegistryOptions;
  readonly #services: SessionServices;
  readonly #clock: Clock;
  /** With their processes or their output; of the others there is a record in `#ended`. */
  readonly #byId = new Map<string, ExecSession>();
  /** Those whose requests had a key. */
  readonly #byKey = new Map<string, ExecSession>();
  /** Those whose leader was not waited for yet. */
  readonly #byPid = new Map<number, ExecSession>();
  readonly #ended: EndedSessions<KnownSession>;
  /** Those that are over, of which there is no record yet. */
  readonly #unrecorded: ExecSession[] = [];
  #running = 0;
  #started = 0;
  #ending = false;
  #onAllReaped: (() => void) | undefined;

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.#clock = options.services.clock;
    this.#services = {
      ...options.services,
      running: () => this.#running,
      stoppedRunning: (session) => this.#stoppedRunning(session),
      leaderReaped: (session) => this.#reaped(session),
      kept: (session) => this.#ended.add(session),
      over: (session) => this.#leave(session),
    };
    this.#ended = new EndedSessions(options.services.limits, this.#clock);
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

  // For one host

  /** Starts what the request asks for. @throws HawserError what is wrong with it, or why there is no room for it. */
  exec(connection: Connection, channelNumber: number, { body }: Message & { name: 'ExecRequest' }): void {
    const known = body.key === undefined ? undefined : this.#byKey.get(body.key);
    if (known !== undefined) {
      this.#ended.take(known.id);
      known.repeat(new Attachment(connection, channelNumber, 'starter'));
      return;
    }
    this.#assertRoom();
    this.#start(connection, channelNumber, body);
  }

  /** One more host follows a session. @throws HawserError `unknown_session`, `invalid_argument`, `limit_exceeded`. */
  attach(
    connection: Connection,
    channelNumber: number,
    { number, body }: Message & { name: 'Attach' },
  ): void {
    assertConsistent(body);
    const session = this.find(body.sessionId);
    if (session instanceof ExecSession) session.assertAttachable(body);
    const attachment = new Attachment(
      connection,
      channelNumber,
      body.observe === true ? 'observer' : 'follower',
    );
    // A host that is attached keeps it; nothing is kept for an observer.
    if (session instanceof ExecSession && !attachment.observes) this.#ended.take(session.id);
    const attached = session.attach(attachment, body);
    connection.send(channelNumber, 'Attached', { re: number, ...attached });
    session.begin(attachment, attached.stdinFrom);
  }

  // For whoever asks

  /** @throws HawserError `unknown_session`. */
  find(sessionId: string): KnownSession {
    this.#writeDown();
    const session = this.#byId.get(sessionId) ?? this.#ended.get(sessionId);
    if (session === undefined) throw unknownSession(sessionId);
    return session;
  }

  /** Those that are meant, by their generation. */
  select({ labels = {}, states, after = 0 }: SessionFilter): KnownSession[] {
    this.#writeDown();
    const wanted = Object.entries(labels);
    const selected: KnownSession[] = [];
    const consider = (session: KnownSession): void => {
      if (session.generation <= after || states?.includes(session.state) === false) return;
      if (wanted.every(([name, value]) => session.labels[name] === value)) selected.push(session);
    };
    for (const session of this.#byId.values()) consider(session);
    for (const session of this.#ended) if (session instanceof EndedSession) consider(session);
    return selected.sort((one, other) => one.generation - other.generation);
  }

  /** What is known of one. */
  record(session: KnownSession, withStats: boolean): SessionRecord {
    const { record } = session;
    const tree = withStats ? this.#services.containment.find(session.id) : undefined;
    if (tree === undefined || tree.over) return record;
    return { ...record, stats: { confidence: tree.confidence, ...tree.stats() } };
  }

  /** @throws HawserError `unknown_session`, `session_ended`, and what `ExecSession.signal` throws. */
  signal(sessionId: string, body: Payload<'Signal'>): void {
    const session = this.find(sessionId);
    if (session instanceof EndedSession)
      throw new HawserError('session_ended', `session ${sessionId} has ended`);
    session.signal(body);
  }

  /**
   * Forgets one that has ended: nobody can ask for it any more. Whoever is attached to it gets the rest of its output.
   *
   * @throws HawserError `unknown_session`, `session_running` while a process of it lives.
   */
  remove(sessionId: string): void {
    const session = this.find(sessionId);
    const tree = this.#services.containment.find(sessionId);
    const left = tree === undefined || tree.over ? 0 : tree.stats().processes;
    if (!session.ended || left > 0) throw stillRunning(sessionId, session.state, left);
    this.#ended.take(sessionId);
    session.discard();
    this.#byId.delete(sessionId);
    if (session instanceof ExecSession) this.#forgetKey(session);
  }

  // The life of sessions

  #assertRoom(): void {
    if (this.#ending) throw new HawserError('cancelled', 'the agent is shutting down');
    const { sessionsMax, services } = this.#options;
    if (this.#running >= sessionsMax) {
      throw new HawserError(
        'too_many_sessions',
        `${this.#running} sessions are running (sessionsMax ${sessionsMax})`,
      );
    }
    services.launcher.assertDescriptors();
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
    const attachment = new Attachment(connection, channelNumber, 'starter');
    const generation = ++this.#started;
    let session: ExecSession;
    try {
      const name = { id: `${this.#options.bootId}-${generation}`, generation };
      session = new ExecSession(this.#services, name, attachment, plan);
    } catch (error) {
      attachment.release();
      throw error;
    }
    this.#byId.set(session.id, session);
    if (plan.key !== undefined) this.#byKey.set(plan.key, session);
    this.#byPid.set(session.pid, session);
    this.#running++;
  }

  #stoppedRunning(session: ExecSession): void {
    this.#running--;
    this.waits.settle(session);
  }

  /**
   * It is over, most often because its host has consumed the last of it, which comes with the host's next request.
   * That does not wait for the record: it is written when the turn is over, or sooner where somebody asks.
   */
  #leave(session: ExecSession): void {
    this.#forgetKey(session);
    if (this.#unrecorded.push(session) === 1) setImmediate(() => this.#writeDown());
  }

  #writeDown(): void {
    for (const session of this.#unrecorded.splice(0)) {
      this.#ended.take(session.id);
      this.#byId.delete(session.id);
      const record = session.lastRecord;
      if (record !== undefined) this.#ended.add(new EndedSession(record));
    }
  }

  #forgetKey(session: ExecSession): void {
    if (session.key !== undefined && this.#byKey.get(session.key) === session)
      this.#byKey.delete(session.key);
  }

  /**
   * Ends every session but for those that survive the agent, and starts none any more.
   *
   * @param graceMsMax what each session's own grace is cut to
   * @returns when all leaders are dead and waited for, but for those that not even SIGKILL ends
   *   because they hang in the kernel.
   */
  async terminateAll(reason: KillReason, graceMsMax = Number.POSITIVE_INFINITY): Promise<void> {
    this.#ending = true;
    const sessions = this.#doomed();
    if (sessions.length === 0) return;
    const graceMs = Math.max(...sessions.map((session) => session.killGraceMs));
    const waitMs = Math.min(graceMs, graceMsMax) + unkillableMs;
    for (const session of sessions) session.terminate(reason, graceMsMax);
    await new Promise<void>((resolve) => {
      const cancel = this.#clock.after(waitMs, resolve);
      this.#onAllReaped = () => {
        cancel();
        resolve();
      };
    });
  }

  /** Its processes go on without the agent. */
  survives(sessionId: string): boolean {
    return this.#byId.get(sessionId)?.survives === true;
  }

  /** Those that end with the agent, and have not ended. */
  #doomed(): ExecSession[] {
    return [...this.#byPid.values()].filter((session) => !session.survives);
  }

  #reaped(session: ExecSession): void {
    this.#byPid.delete(session.pid);
    if (this.#ending && this.#doomed().length === 0) this.#onAllReaped?.();
  }
}

function assertConsistent({ observe, follow, stdin }: Payload<'Attach'>): void {
  if (observe === true && stdin === true)
    throw new HawserError('invalid_argument', 'who observes does not write to stdin');
  if (follow === false && observe !== true)
    throw new HawserError('invalid_argument', 'only who observes need not follow');
}

function stillRunning(sessionId: string, state: SessionRecord['state'], processes: number): HawserError {
  const what =
    state === 'starting' || state === 'running'
      ? `is ${state}`
      : `has ended, but ${processes === 0 ? 'processes' : processes} of it live`;
  return new HawserError('session_running', `session ${sessionId} ${what}: kill its tree first`);
}
