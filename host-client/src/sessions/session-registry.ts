import type { Payload, SessionRecord, SessionStateName } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import type { SignalOptions } from '../options.js';
import type { Questions } from '../questions.js';
import type { ExitResult } from './command.js';
import type { SessionMembers, SessionStats } from './process-tree.js';
import { ProcessTree } from './process-tree.js';
import type { OpenOutput, OutputOptions, SessionOutput } from './session-output.js';
import type { StatsSample } from './stats-series.js';
import { StatsSeries, statsSample } from './stats-series.js';

/**
 * `exited` and `signaled` are ends, and so is `unknown`: the leader is dead, and somebody else in the guest has
 * waited for it, so that nobody knows how.
 */
export type SessionStateText = SessionStateName;

/** One output of a session: how much there was of it, and how much can still be read. */
export interface RetainedOutput {
  /** Bytes that the command has written, dropped ones included. */
  readonly bytes: number;
  readonly dropped: number;
  /** Position of the oldest byte that is still there; from there to `bytes` it can be read. */
  readonly start: number;
}

/** What the agent knows of a session, running or ended. */
export interface SessionInfo {
  readonly id: string;
  /** Counts the agent's sessions: a pid may come twice, the two together do not. */
  readonly generation: number;
  readonly pid: number;
  /** The command and its arguments; those that are not UTF-8 are bytes. */
  readonly command: readonly (string | Uint8Array)[];
  /** There is more of it than is here. */
  readonly commandCut: boolean;
  readonly labels: Readonly<Record<string, string>>;
  readonly key: string | null;
  /** As the request named it; null for the agent's own. */
  readonly user: string | null;
  readonly uid: number;
  readonly gid: number;
  /** Null for the agent's own. */
  readonly cwd: string | Uint8Array | null;
  readonly tty: boolean;
  /** It does not end with its hosts. */
  readonly detached: boolean;
  readonly surviveAgent: boolean;
  readonly state: SessionStateText;
  /** By the guest's clock; null while it is starting. */
  readonly startedAt: Date | null;
  readonly endedAt: Date | null;
  /** Null until the leader is dead. */
  readonly exit: ExitResult | null;
  /** Hosts that are attached, observers not counted. */
  readonly hosts: number;
  readonly stdinBytes: number;
  readonly stdout: RetainedOutput;
  /** Null for a terminal. */
  readonly stderr: RetainedOutput | null;
  /** What its processes use now; null where it has none, or that was not asked for. */
  readonly stats: SessionStats | null;
}

export interface ListSessionsOptions {
  /** Only sessions that have all of these. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Only sessions in one of these. */
  readonly states?: readonly SessionStateText[];
  /** With what each one's processes use now, which takes a look at each. Default false. */
  readonly stats?: boolean;
}

export interface WaitOptions {
  /** Fails with `timed_out` after so long; the session goes on. */
  readonly timeoutMs?: number;
}

export interface StatsOptions {
  readonly labels?: Readonly<Record<string, string>>;
  /** Of this session alone. */
  readonly sessionId?: string;
}

/** Sessions in one page, where nothing else is asked for. */
const pageSize = 200;

/**
 * Every session that the agent knows, whoever started it: those that run, and those that have ended, up to a number
 * and an age.
 *
 * @example
 * for (const { id, state, command } of await agent.sessions.list({ states: ['running'] })) console.log(id, state, command);
 */
export class SessionRegistry {
  readonly #questions: Questions;
  readonly #openOutput: OpenOutput;

  /** @internal It is `Agent.sessions`. */
  constructor(questions: Questions, openOutput: OpenOutput) {
    this.#questions = questions;
    this.#openOutput = openOutput;
  }

  /** All of them, the oldest first. */
  async list(options: ListSessionsOptions = {}): Promise<SessionInfo[]> {
    const all: SessionInfo[] = [];
    let after: number | undefined;
    do {
      const { sessions, next } = await this.listPage({ ...options, after, limit: pageSize });
      all.push(...sessions);
      after = next;
    } while (after !== undefined);
    return all;
  }

  /**
   * Some of them.
   *
   * @param options `after` is `next` of the page before; `limit` is how many come at most.
   * @returns `next` where there are more.
   */
  async listPage(
    options: ListSessionsOptions & { readonly after?: number | undefined; readonly limit?: number } = {},
  ): Promise<{ readonly sessions: SessionInfo[]; readonly next: number | undefined }> {
    const { labels, states, stats, after, limit } = options;
    const body: Payload<'List'> = { labels, states: states && [...states], stats, after, limit };
    const reply = await this.#questions.ask('List', body, 'ListReply');
    if (reply.next !== undefined && reply.next <= (after ?? 0))
      throw new HawserError('message_invalid', `the agent's page ends where it began, at ${reply.next}`);
    return { sessions: reply.sessions.map(sessionInfo), next: reply.next };
  }

  /** One of them, with what its processes use now. @throws HawserError `unknown_session`. */
  async get(sessionId: string): Promise<SessionInfo> {
    return sessionInfo((await this.#questions.ask('Inspect', { sessionId }, 'InspectReply')).session);
  }

  /**
   * Waits until the leader is dead; at once where it is. Any number may wait, and again.
   *
   * @throws HawserError `unknown_session`, `timed_out` after `timeoutMs`.
   */
  async wait(sessionId: string, { timeoutMs }: WaitOptions = {}): Promise<SessionInfo> {
    return sessionInfo((await this.#questions.ask('Wait', { sessionId, timeoutMs }, 'WaitReply')).session);
  }

  /**
   * Forgets a session that has ended, its output with it.
   *
   * @throws HawserError `unknown_session`, `session_running` while a process of it lives.
   */
  async remove(sessionId: string): Promise<void> {
    await this.#questions.ask('Remove', { sessionId }, 'Done');
  }

  /**
   * Reads what a session has written, without being attached to it: neither the command nor the session's end wait
   * for this reader, who is told by the event `gap` what went before it came there.
   *
   * @throws HawserError `unknown_session`.
   * @example
   * await using output = await agent.sessions.output(id, { from: 'start' });
   * output.stdout?.pipe(process.stdout);
   */
  output(sessionId: string, options: OutputOptions = {}): Promise<SessionOutput> {
    return this.#openOutput(sessionId, options);
  }

  /** As `Session.signal`. @throws HawserError also `unknown_session`. */
  async signal(sessionId: string, signal: string, { target }: SignalOptions = {}): Promise<void> {
    await this.#questions.ask('Signal', { sessionId, signal, target }, 'Done');
  }

  /** As `Session.members`. */
  members(sessionId: string): Promise<SessionMembers> {
    return this.#treeOf(sessionId).members();
  }

  /** As `Session.killTree`. */
  killTree(sessionId: string): Promise<void> {
    return this.#treeOf(sessionId).killTree();
  }

  /** As `Session.killOne`. */
  killOne(sessionId: string, pid: number, signal?: string): Promise<void> {
    return this.#treeOf(sessionId).killOne(pid, signal);
  }

  /** As `Session.freeze`. */
  freeze(sessionId: string): Promise<void> {
    return this.#treeOf(sessionId).freeze();
  }

  /** As `Session.thaw`. */
  thaw(sessionId: string): Promise<void> {
    return this.#treeOf(sessionId).thaw();
  }

  /** As `Session.stats`. */
  stats(sessionId: string): Promise<SessionStats> {
    return this.#treeOf(sessionId).stats();
  }

  /** What every session that has processes uses, in one answer. */
  async allStats({ labels, sessionId }: StatsOptions = {}): Promise<StatsSample> {
    return statsSample(await this.#questions.ask('AllStats', { labels, sessionId }, 'AllStatsReply'));
  }

  /**
   * The same again and again, until the loop is left. Where this process is slow, samples are left out.
   *
   * @param options `intervalMs`, from 100 to 3,600,000; `signal` ends the series.
   * @throws HawserError `unknown_session`, `session_ended` where a single session is asked for.
   * @example
   * for await (const { sessions } of agent.sessions.watchStats({ intervalMs: 1000 })) console.log(sessions.length);
   */
  watchStats(
    options: StatsOptions & { readonly intervalMs: number; readonly signal?: AbortSignal },
  ): AsyncIterable<StatsSample> {
    const { labels, sessionId, intervalMs, signal } = options;
    return new StatsSeries(this.#questions, { labels, sessionId, intervalMs }, signal);
  }

  #treeOf(sessionId: string): ProcessTree {
    return new ProcessTree(this.#questions, () => sessionId);
  }
}

function sessionInfo(record: SessionRecord): SessionInfo {
  const { sessionId, startedAtUs, endedAtUs, exit, ...rest } = record;
  return {
    ...rest,
    id: sessionId,
    commandCut: record.commandCut ?? false,
    key: record.key ?? null,
    user: record.user ?? null,
    cwd: record.cwd ?? null,
    surviveAgent: record.surviveAgent ?? false,
    startedAt: startedAtUs === 0 ? null : new Date(startedAtUs / 1000),
    endedAt: endedAtUs === undefined ? null : new Date(endedAtUs / 1000),
    exit: exit === undefined ? null : { ...exit, code: exit.code ?? null, signal: exit.signal ?? null },
    stderr: record.stderr ?? null,
    stats: record.stats ?? null,
  };
}
