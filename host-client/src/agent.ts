import { randomBytes } from 'node:crypto';
import type {
  Channel,
  ChannelHandler,
  ConnectionNotice,
  HawserError,
  Limits,
  Line,
  Payload,
  PortCounters,
} from '@hawser/protocol';
import { defaultLimits, MessageCodec } from '@hawser/protocol';
import { execRequest } from './exec-request.js';
import type { LinkState } from './link.js';
import { Link } from './link.js';
import type { AttachOptions, ConnectOptions, ExecOptions, ShutdownOptions, SpawnOptions } from './options.js';
import { Questions } from './questions.js';
import type { CommandOpening } from './sessions/command.js';
import { Command } from './sessions/command.js';
import type { ExecResult } from './sessions/exec.js';
import { aborted, Execution } from './sessions/exec.js';
import { InputStream } from './sessions/input-stream.js';
import { OutputStream } from './sessions/output-stream.js';
import { ProcessTree } from './sessions/process-tree.js';
import { Session } from './sessions/session.js';
import { OutputReading } from './sessions/session-output.js';
import { SessionRegistry } from './sessions/session-registry.js';

/** What the agent said of itself when it was greeted. */
export type AgentWelcome = Payload<'Welcome'>;
/** What the agent says of itself now. */
export type AgentInfo = Omit<Payload<'InfoReply'>, 're'>;

/**
 * An agent that answered, at the other end of a line. `close`, or `await using`, lets go of it:
 * its sessions end then.
 *
 * @example
 * await using agent = await connect('unix:/run/hawser.sock');
 * const { code, stdout } = await agent.exec('uname', ['-a']);
 */
export class Agent implements AsyncDisposable {
  /** Resolves with the reason when the connection is over. */
  readonly closed: Promise<HawserError>;
  /** What the agent said of itself when it was greeted. */
  readonly welcome: AgentWelcome;
  /** Every session that the agent knows, whoever started it. */
  readonly sessions: SessionRegistry;
  readonly #link: Link;
  readonly #limits: Limits;
  readonly #questions: Questions;
  #channel = 0;

  private constructor(link: Link, limits: Limits, closed: Promise<HawserError>) {
    this.#link = link;
    this.#limits = limits;
    this.welcome = link.welcome;
    this.closed = closed;
    this.#questions = new Questions(link.connection);
    this.sessions = new SessionRegistry(this.#questions, (sessionId, options) =>
      new OutputReading((handler) => this.#openChannel(handler), sessionId, options).output(),
    );
  }

  /**
   * Greets the agent at the other end of `line`, and owns the line from then on.
   *
   * @param reopen opens the line once more when it was lost; without it the connection ends with its line.
   * @throws HawserError `handshake_timeout`, `rejected`, `unsupported`, `aborted`, `line_closed`; the line is closed then.
   */
  static async greet(
    line: Line,
    options: ConnectOptions = {},
    reopen?: (signal: AbortSignal) => Promise<Line>,
  ): Promise<Agent> {
    const limits = limitsOf(options);
    let agent: Agent | undefined;
    let connectionEnded!: (error: HawserError) => void;
    const closed = new Promise<HawserError>((settle) => (connectionEnded = settle));
    const link = await Link.greet(line, {
      limits,
      codec: new MessageCodec(limits),
      token: options.token,
      checked: options.checked ?? false,
      graceMs: options.graceMs,
      reconnectMs: options.reconnectMs,
      reopen,
      signal: options.signal,
      aborted: () => aborted(options.signal as AbortSignal),
      notice: (notice) => agent?.onNotice(notice),
      stateChanged: (state, reason) => agent?.onState(state, reason),
      closed: (error) => connectionEnded(error),
    });
    agent = new Agent(link, limits, closed);
    return agent;
  }

  /** The line's name, e.g. `unix:/run/hawser.sock`. */
  get line(): string {
    return this.#link.port.line.name;
  }

  /** `resuming` while the line, or something on it, is lost: calls go on when the agent is reached again. */
  get state(): LinkState {
    return this.#link.state;
  }

  /** Called when `state` changes, with the reason unless it is good. */
  onState: (state: LinkState, reason: HawserError | undefined) => void = () => {};

  /** What went over the line, noise included; since it was opened last. */
  get counters(): Readonly<PortCounters> {
    return this.#link.port.counters;
  }

  /** Called for what the agent sent that was wrong or unknown; the connection goes on. */
  onNotice: (notice: ConnectionNotice) => void = () => {};

  /**
   * Runs a command and collects what it writes.
   *
   * @returns how it ended, whatever the exit code, as soon as the leader is dead; what descendants
   *   write later is not waited for (`outputComplete` tells).
   * @throws HawserError when it did not start (`not_found` and others, with `stage` and `errno`),
   *   wrote too much (`max_buffer`), was aborted, or the connection ended.
   */
  exec(
    cmd: string | Uint8Array,
    args?: readonly (string | Uint8Array)[],
    options?: ExecOptions & { encoding?: 'utf8' },
  ): Promise<ExecResult>;
  exec(
    cmd: string | Uint8Array,
    args: readonly (string | Uint8Array)[],
    options: ExecOptions & { encoding: 'buffer' },
  ): Promise<ExecResult<Buffer>>;
  exec(
    cmd: string | Uint8Array,
    args: readonly (string | Uint8Array)[] = [],
    options: ExecOptions = {},
  ): Promise<ExecResult<string | Buffer>> {
    const { signal } = options;
    let execution: Execution;
    try {
      const stdin = options.input === undefined ? 'null' : 'pipe';
      const body = execRequest(cmd, args, stdin, options);
      execution = new Execution(options, (input, outputs) =>
        this.#start(signal, { name: 'ExecRequest', body, input, outputs }),
      );
    } catch (error) {
      return failed(error);
    }
    // Not async itself: each promise around another is three turns of the queue.
    if (signal === undefined) return execution.result();
    return this.#abortable(execution.command, signal, () => execution.result());
  }

  /**
   * Starts a command.
   *
   * @returns its session, when it runs.
   * @throws HawserError when it did not start, as `exec`.
   */
  async spawn(
    cmd: string | Uint8Array,
    args: readonly (string | Uint8Array)[] = [],
    options: SpawnOptions = {},
  ): Promise<Session> {
    const stdout = new OutputStream();
    const stderr = options.tty === undefined || options.tty === false ? new OutputStream() : null;
    const stdin = options.stdin === 'null' ? null : new InputStream();
    const outputs = stderr === null ? [stdout] : [stdout, stderr];
    const { signal } = options;
    const body = execRequest(cmd, args, options.stdin, options);
    const command = this.#start(signal, { name: 'ExecRequest', body, input: stdin, outputs });
    if (signal === undefined) await command.started;
    else {
      await this.#abortable(command, signal, () => command.started);
      const onAbort = (): void => void command.kill().catch(() => {});
      signal.addEventListener('abort', onAbort, { once: true });
      command.exited.catch(() => {}).finally(() => signal.removeEventListener('abort', onAbort));
    }
    return new Session(command, stdin, stdout, stderr, this.#treeOf(command));
  }

  /**
   * Follows a session that runs, or has ended and was kept: one that was started detached, by another host,
   * or before this process was. Any number of hosts may read; the last that asked for stdin writes.
   *
   * @param sessionId `Session.id` of the one that started it.
   * @throws HawserError `unknown_session`, and whatever ends the connection.
   * @example
   * const session = await agent.attach(id, { from: 'start' });
   * session.stdout.on('gap', ({ from, to }) => console.error(`bytes ${from} to ${to} are not kept any more`));
   */
  async attach(sessionId: string, options: AttachOptions = {}): Promise<Session> {
    const { from = 'end' } = options;
    const stdin = options.stdin === true ? new InputStream() : null;
    const stdout = new OutputStream();
    let stderr: OutputStream | null = null;
    const command = this.#start(undefined, {
      name: 'Attach',
      body: {
        sessionId,
        stdin: options.stdin,
        stdout: typeof from === 'object' ? from.stdout : from,
        stderr: typeof from === 'object' ? from.stderr : from,
      },
      input: stdin,
      outputs: (terminal) => {
        stderr = terminal ? null : new OutputStream();
        const outputs = stderr === null ? [stdout] : [stdout, stderr];
        if (from !== 'none') return outputs;
        for (const output of outputs) output.end();
        return [];
      },
    });
    await command.started;
    return new Session(
      command,
      command.stdinFrom === undefined ? null : stdin,
      stdout,
      stderr,
      this.#treeOf(command),
    );
  }

  /** Measures a round trip. @returns milliseconds. */
  ping(): Promise<number> {
    return this.#link.connection.ping();
  }

  /** What the agent says of itself now: sessions, memory, what its lines carried. */
  async info(): Promise<AgentInfo> {
    const { re: _re, ...info } = await this.#questions.ask('Info', {}, 'InfoReply');
    return info;
  }

  /**
   * Credits the guest's kernel with entropy (random(4)), for one that was restored from a snapshot and has the
   * same as every other copy of it.
   *
   * @param bytes random, and used nowhere else; 64 of this machine's unless given, at most 4096.
   * @throws HawserError `system_call_failed` where the agent may not.
   */
  async addEntropy(bytes: Uint8Array = randomBytes(64)): Promise<void> {
    await this.#questions.ask('AddEntropy', { bytes }, 'Done');
  }

  /**
   * Ends the guest in order, where the agent is its first process: sessions get their kill signal and
   * after their grace SIGKILL, then all other processes, the disks are written and unmounted.
   *
   * @returns when the agent has begun; the exits of the sessions still come, and then `closed`.
   * @throws HawserError `unsupported` where the guest has an init of its own: ask that.
   */
  async shutdown(options: ShutdownOptions = {}): Promise<void> {
    const request = { mode: options.mode ?? 'poweroff', graceMs: options.graceMs };
    await this.#questions.ask('Shutdown', request, 'Done');
  }

  /** Says goodbye and closes the line. The sessions end. */
  async close(): Promise<void> {
    this.#link.close();
    await this.closed;
  }

  /**
   * Ends the connection at once, for a reason that its line cannot tell: the VM is gone.
   *
   * @internal
   */
  end(reason: HawserError): void {
    this.#link.end(reason);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #start(signal: AbortSignal | undefined, opening: CommandOpening): Command {
    if (signal?.aborted === true) throw aborted(signal);
    const open = (handler: ChannelHandler): Channel => this.#openChannel(handler);
    const command = new Command(open, opening, this.#limits.spoolBytesMax);
    this.#link.connection.flush(); // before the promises of whoever waits for it are made
    return command;
  }

  #treeOf(command: Command): ProcessTree {
    return new ProcessTree(this.#questions, () => command.id);
  }

  #openChannel(handler: ChannelHandler): Channel {
    return this.#link.connection.openChannel(++this.#channel, handler);
  }

  /** Runs `work`; an abort ends the command and the call at once. */
  async #abortable<T>(command: Command, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    let onAbort!: () => void;
    const abort = new Promise<never>((_resolve, reject) => {
      onAbort = () => {
        command.kill().catch(() => {});
        reject(aborted(signal));
      };
    });
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await Promise.race([work(), abort]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }
}

async function failed(error: unknown): Promise<never> {
  throw error;
}

function limitsOf(options: ConnectOptions): Limits {
  const set = Object.entries(options).filter(([name, value]) => name in defaultLimits && value !== undefined);
  return { ...defaultLimits, ...(Object.fromEntries(set) as Partial<Limits>) };
}
