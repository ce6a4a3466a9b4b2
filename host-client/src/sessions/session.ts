import type { Readable, Writable } from 'node:stream';
import type { TerminalSize } from '@hawser/protocol';
import type { RlimitSettings, RlimitTable, SignalOptions } from '../options.js';
import type { Command, ExitResult } from './command.js';
import type { InputStream } from './input-stream.js';
import type { OutputStream } from './output-stream.js';
import type { ProcessTree, SessionMembers, SessionStats } from './process-tree.js';

/**
 * A command that runs in the guest. `await using` ends it with SIGKILL where it has not ended.
 *
 * @example
 * const session = await agent.spawn('grep', ['-c', 'x']);
 * session.stdin.end('x\ny\nx\n');
 * for await (const chunk of session.stdout) process.stdout.write(chunk);
 * const { code } = await session.exited;
 */
export class Session implements AsyncDisposable {
  /** What the command reads; null where it was started with `stdin: 'null'`. */
  readonly stdin: Writable | null;
  /** In a terminal: everything. */
  readonly stdout: Readable;
  /** Null in a terminal. */
  readonly stderr: Readable | null;
  readonly #command: Command;
  readonly #tree: ProcessTree;

  /** @internal Made by `Agent.spawn`. */
  constructor(
    command: Command,
    stdin: InputStream | null,
    stdout: OutputStream,
    stderr: OutputStream | null,
    tree: ProcessTree,
  ) {
    this.#command = command;
    this.#tree = tree;
    this.stdin = stdin;
    this.stdout = stdout;
    this.stderr = stderr;
  }

  /** The agent's own name for the session; never used twice. */
  get id(): string {
    return this.#command.id;
  }

  /** In the guest; a pid may recur when the session has ended. */
  get pid(): number {
    return this.#command.pid;
  }

  /** How many bytes of stdin the session had taken when this host became its writer. */
  get stdinFrom(): number | undefined {
    return this.#command.stdinFrom;
  }

  /** Positions in bytes of what `stdout` and `stderr` begin with: 0 unless the session was attached to. */
  get outputFrom(): { readonly stdout: number; readonly stderr: number } {
    const [stdout, stderr] = this.#command.outputFrom;
    return { stdout, stderr };
  }

  /** By the guest's clock. */
  get startedAt(): Date {
    return this.#command.startedAt;
  }

  /** Resolves when the leader is dead; what it wrote may still be on its way. Rejects when the connection ends first. */
  get exited(): Promise<ExitResult> {
    return this.#command.exited;
  }

  /** Resolves when nobody in the guest holds the output any more, and all of it came. */
  get closed(): Promise<void> {
    return this.#command.closed;
  }

  /**
   * Sends a signal, `SIGTERM` or `TERM`, also `SIGRTMIN+3`.
   *
   * @returns when the guest's kernel has taken it.
   * @throws HawserError `session_ended`, `unknown_signal`, `not_a_terminal` for the foreground group of a session without one.
   */
  signal(signal: string, options: SignalOptions = {}): Promise<void> {
    return this.#command.signal(signal, options);
  }

  /** SIGKILL to every process of the session that runs. A session that has ended already is no error. */
  kill(): Promise<void> {
    return this.#command.kill();
  }

  /**
   * Lets go of the session, which goes on without this host; `Agent.attach` comes back to it. What had not
   * arrived of its output is there for whoever attaches. `exited` and `closed` reject with `detached`.
   *
   * What was written to stdin before is sent first; that waits for a command that does not read it.
   */
  detach(): Promise<void> {
    return this.#command.detach();
  }

  /**
   * SIGKILL to every process of the session, those included that outlived its leader (`survivors` of the
   * exit record) or made themselves sessions of their own. A session without processes is no error.
   *
   * @returns when all of them are dead.
   * @example
   * const { survivors } = await session.exited;
   * if (survivors) await session.killTree();
   */
  killTree(): Promise<void> {
    return this.#tree.killTree();
  }

  /**
   * Sends a signal (default SIGKILL) to one process of the session.
   *
   * @throws HawserError `not_a_member` for a pid that is none of the session's, `unknown_signal`, `session_ended`.
   */
  killOne(pid: number, signal?: string): Promise<void> {
    return this.#tree.killOne(pid, signal);
  }

  /**
   * Every process of the session, in one answer.
   *
   * @throws HawserError `session_ended` when there is none left.
   * @example
   * const { processes } = await session.members();
   * for (const { pid, parentPid, name, cpuUserUs, rssBytes } of processes) console.log(pid, parentPid, name);
   */
  members(): Promise<SessionMembers> {
    return this.#tree.members();
  }

  /** CPU time and memory of all processes of the session together. @throws HawserError `session_ended`. */
  stats(): Promise<SessionStats> {
    return this.#tree.stats();
  }

  /**
   * Stops every process of the session where it stands; time goes on for them. @returns when none runs.
   *
   * @throws HawserError `session_ended`.
   */
  freeze(): Promise<void> {
    return this.#tree.freeze();
  }

  /** Lets them go on. @throws HawserError `session_ended`. */
  thaw(): Promise<void> {
    return this.#tree.thaw();
  }

  /** @throws HawserError `not_a_terminal`, `session_ended`. */
  resize(size: TerminalSize): Promise<void> {
    return this.#command.resize(size);
  }

  /** The limits that are in force now. */
  rlimits(): Promise<RlimitTable> {
    return this.#command.setRlimits({});
  }

  /** Changes limits of the leader; its children inherit them from then on. @returns all that are in force then. */
  setRlimits(settings: RlimitSettings): Promise<RlimitTable> {
    return this.#command.setRlimits(settings);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stdout.destroy();
    this.stderr?.destroy();
    this.stdin?.destroy();
    await this.kill().catch(() => {});
    const exit = await this.exited.catch(() => null);
    if (exit !== null && (exit.survivors ?? 0) > 0) await this.killTree().catch(() => {});
  }
}
