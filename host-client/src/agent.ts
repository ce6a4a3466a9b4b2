import { randomBytes } from 'node:crypto';
import type {
  Connection,
  ConnectionNotice,
  Limits,
  Line,
  Message,
  Payload,
  PortCounters,
} from '@hawser/protocol';
import {
  defaultLimits,
  frameTypes,
  HawserError,
  HostGreeting,
  MessageCodec,
  Port,
  Connection as ProtocolConnection,
  SpoolBudget,
  systemClock,
} from '@hawser/protocol';
import { execRequest } from './exec-request.js';
import type { ConnectOptions, ExecOptions, SpawnOptions } from './options.js';
import { Command } from './sessions/command.js';
import type { CommandInput } from './sessions/command-input.js';
import type { CommandOutput } from './sessions/command-output.js';
import type { ExecResult } from './sessions/exec.js';
import { aborted, Execution } from './sessions/exec.js';
import { InputStream } from './sessions/input-stream.js';
import { OutputStream } from './sessions/output-stream.js';
import { Session } from './sessions/session.js';
import { hostVersion } from './version.js';

/** What the agent said of itself when it was greeted. */
export type AgentWelcome = Payload<'Welcome'>;
/** What the agent says of itself now. */
export type AgentInfo = Omit<Payload<'InfoReply'>, 're'>;

/** What a host must not hold back an agent by: memory for stdin that agents have not taken yet, bytes. */
const spoolBudgetBytes = 256 * 1024 * 1024;
const readBufferBytes = 1024 * 1024;

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
  readonly #port: Port;
  readonly #limits: Limits;
  readonly #connection: Connection;
  readonly #questions = new Map<
    number,
    { resolve: (info: AgentInfo) => void; reject: (error: HawserError) => void }
  >();
  #channel = 0;

  private constructor(
    port: Port,
    connection: Connection,
    limits: Limits,
    welcome: AgentWelcome,
    closed: Promise<HawserError>,
  ) {
    this.#port = port;
    this.#connection = connection;
    this.#limits = limits;
    this.welcome = welcome;
    this.closed = closed;
    connection.openChannel(0, {
      message: (message) => this.#message(message),
      closed: (error) => this.#ended(error),
    });
  }

  /**
   * Greets the agent at the other end of `line`, and owns the line from then on.
   *
   * @throws HawserError `handshake_timeout`, `rejected`, `unsupported`, `aborted`, `line_closed`; the line is closed then.
   */
  static async greet(line: Line, options: ConnectOptions = {}): Promise<Agent> {
    const limits = limitsOf(options);
    const codec = new MessageCodec(limits);
    return new Promise<Agent>((resolve, reject) => {
      let agent: Agent | undefined;
      let connectionEnded!: (error: HawserError) => void;
      const closed = new Promise<HawserError>((settle) => (connectionEnded = settle));
      const fail = (error: HawserError): void => {
        options.signal?.removeEventListener('abort', onAbort);
        greeting.stop();
        line.close();
        reject(error);
      };
      const onAbort = (): void => fail(aborted(options.signal as AbortSignal));
      const port: Port = new Port(line, limits, readBufferBytes, {
        greeting: (frame) => {
          if (agent === undefined) greeting.frame(frame);
          else agent.#greetedAgain(frame.type);
        },
        skipped: () => {}, // counted by the port, and shown by `counters`
        closed: (error) => fail(error ?? new HawserError('line_closed', `${line.name} was closed`)),
      });
      const greeting: HostGreeting = new HostGreeting(port, {
        lane: 0,
        limits,
        codec,
        clock: systemClock,
        connectionKey: randomBytes(16),
        hostVersion,
        token: options.token,
        checked: options.checked ?? false,
        wallClockUs: () => Date.now() * 1000,
        failed: fail,
        welcomed: (agreement, welcome) => {
          options.signal?.removeEventListener('abort', onAbort);
          const connection = new ProtocolConnection(port, {
            lane: 0,
            agreement,
            limits,
            codec,
            clock: systemClock,
            budget: new SpoolBudget(spoolBudgetBytes),
            handler: {
              request: () => {}, // a guest asks nothing of a host
              notice: (notice) => agent?.onNotice(notice),
              closed: (error) => {
                connectionEnded(error);
                port.closeAfterFlush();
              },
            },
          });
          agent = new Agent(port, connection, limits, welcome, closed);
          resolve(agent);
        },
      });
      port.start();
      if (options.signal?.aborted === true) onAbort();
      else options.signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** The line's name, e.g. `unix:/run/hawser.sock`. */
  get line(): string {
    return this.#port.line.name;
  }

  /** What went over the line, noise included. */
  get counters(): Readonly<PortCounters> {
    return this.#port.counters;
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
  async exec(
    cmd: string | Uint8Array,
    args: readonly (string | Uint8Array)[] = [],
    options: ExecOptions = {},
  ): Promise<ExecResult<string | Buffer>> {
    const stdin = options.input === undefined ? 'null' : 'pipe';
    const execution = new Execution(options, (input, outputs) =>
      this.#start(cmd, args, { ...options, stdin }, { input, outputs }),
    );
    return this.#abortable(execution.command, options.signal, () => execution.result());
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
    const command = this.#start(cmd, args, options, { input: stdin, outputs });
    const { signal } = options;
    await this.#abortable(command, signal, () => command.started);
    if (signal !== undefined) {
      const onAbort = (): void => void command.kill().catch(() => {});
      signal.addEventListener('abort', onAbort, { once: true });
      command.exited.catch(() => {}).finally(() => signal.removeEventListener('abort', onAbort));
    }
    return new Session(command, stdin, stdout, stderr);
  }

  /** Measures a round trip. @returns milliseconds. */
  ping(): Promise<number> {
    return this.#connection.ping();
  }

  /** What the agent says of itself now: sessions, memory, what its lines carried. */
  async info(): Promise<AgentInfo> {
    const number = this.#connection.send(0, 'Info', {});
    return new Promise((resolve, reject) => this.#questions.set(number, { resolve, reject }));
  }

  /** Says goodbye and closes the line. The sessions end. */
  async close(): Promise<void> {
    this.#connection.close();
    await this.closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #start(
    cmd: string | Uint8Array,
    args: readonly (string | Uint8Array)[],
    options: SpawnOptions,
    ends: { input: CommandInput | null; outputs: readonly CommandOutput[] },
  ): Command {
    if (options.signal?.aborted === true) throw aborted(options.signal);
    return new Command(
      (handler) => this.#connection.openChannel(++this.#channel, handler),
      execRequest(cmd, args, options),
      ends,
      this.#limits.spoolBytesMax,
    );
  }

  /** Runs `work`; an abort ends the command and the call at once. */
  async #abortable<T>(command: Command, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    if (signal === undefined) return work();
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

  #message(message: Message): void {
    if (message.name !== 'InfoReply' && message.name !== 'Failure') return;
    const { re, ...body } = message.body;
    const question = re === undefined ? undefined : this.#questions.get(re);
    if (re === undefined || question === undefined) return;
    this.#questions.delete(re);
    if (message.name === 'InfoReply') question.resolve(body as AgentInfo);
    else question.reject(new HawserError('unsupported', message.body.message));
  }

  /** The agent announces itself on a line that we hold: it was started again, or opened the line anew. */
  #greetedAgain(type: number): void {
    if (type === frameTypes.Ready.id)
      this.#connection.lineClosed(new HawserError('connection_closed', 'the agent opened its line anew'));
  }

  #ended(error: HawserError): void {
    for (const question of this.#questions.values()) question.reject(error);
    this.#questions.clear();
  }
}

function limitsOf(options: ConnectOptions): Limits {
  const set = Object.entries(options).filter(([name, value]) => name in defaultLimits && value !== undefined);
  return { ...defaultLimits, ...(Object.fromEntries(set) as Partial<Limits>) };
}
