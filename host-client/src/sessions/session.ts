import type { Readable, Writable } from 'node:stream';
import type {
  Channel,
  ChannelHandler,
  ErrorCode,
  ExecRequest,
  ExitRecord,
  LaunchStage,
  Message,
  Payload,
  TerminalSize,
} from '@hawser/protocol';
import { HawserError, isErrorCode, launchStages } from '@hawser/protocol';
import { rlimitsOnWire, rlimitTable } from '../exec-request.js';
import type { RlimitSettings, RlimitTable, SignalOptions } from '../options.js';
import { InputStream } from './input-stream.js';
import { OutputStream } from './output-stream.js';

/** How a command ended: exactly one of `code` and `signal` is not null, as in node:child_process. */
export type ExitResult = Omit<ExitRecord, 'code' | 'signal'> & {
  readonly code: number | null;
  readonly signal: string | null;
};

type SessionState =
  | { at: 'starting' }
  | { at: 'running'; id: string; pid: number; startedAtUs: number }
  | { at: 'exited'; id: string; pid: number; startedAtUs: number }
  | { at: 'failed'; error: HawserError };

/** A promise with its two ends; rejections that nobody waits for are no fault. */
class Deferred<T> {
  readonly promise: Promise<T>;
  resolve!: (value: T) => void;
  reject!: (error: HawserError) => void;

  constructor() {
    this.promise = new Promise<T>((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    this.promise.catch(() => {});
  }
}

interface Reply {
  resolve(message: Message): void;
  reject(error: HawserError): void;
}

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
  readonly #channel: Channel;
  readonly #input: InputStream | undefined;
  readonly #outputs: OutputStream[] = [];
  readonly #requestNumber: number;
  readonly #started = new Deferred<Session>();
  readonly #exited = new Deferred<ExitResult>();
  readonly #closed = new Deferred<void>();
  readonly #replies = new Map<number, Reply>();
  #state: SessionState = { at: 'starting' };
  /** Bytes of stdout and stderr, when the guest says that there will be no more. */
  #finalBytes: [number, number] | undefined;

  /** @internal Made by `Agent.spawn`. @throws HawserError when the request does not fit. */
  constructor(open: (handler: ChannelHandler) => Channel, request: ExecRequest, stdinSpoolBytes: number) {
    this.#channel = open({
      message: (message) => this.#message(message),
      closed: (error) => this.#end(error),
    });
    this.stdout = this.#openOutput('Stdout');
    this.stderr = request.tty === undefined ? this.#openOutput('Stderr') : null;
    this.#input = request.stdin === 'null' ? undefined : this.#openInput(stdinSpoolBytes);
    this.stdin = this.#input ?? null;
    try {
      this.#requestNumber = this.#channel.send('ExecRequest', request);
    } catch (error) {
      this.#channel.release();
      throw asTooLong(error);
    }
  }

  /** @internal Resolves with this when the command runs. */
  get started(): Promise<Session> {
    return this.#started.promise;
  }

  /** The agent's own name for the session; never used twice. */
  get id(): string {
    return this.#startedState().id;
  }

  /** In the guest; a pid may recur when the session has ended. */
  get pid(): number {
    return this.#startedState().pid;
  }

  /** By the guest's clock. */
  get startedAt(): Date {
    return new Date(this.#startedState().startedAtUs / 1000);
  }

  /** Resolves when the leader is dead; what it wrote may still be on its way. Rejects when the connection ends first. */
  get exited(): Promise<ExitResult> {
    return this.#exited.promise;
  }

  /** Resolves when nobody in the guest holds the output any more, and all of it came. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /**
   * Sends a signal, `SIGTERM` or `TERM`, also `SIGRTMIN+3`.
   *
   * @returns when the guest's kernel has taken it.
   * @throws HawserError `session_ended`, `unknown_signal`, `not_a_terminal` for the foreground group of a session without one.
   */
  async signal(signal: string, options: SignalOptions = {}): Promise<void> {
    await this.#ask('Signal', { signal, target: options.target });
  }

  /** SIGKILL to the leader's group. A session that has ended already is no error. */
  async kill(): Promise<void> {
    if (this.#state.at === 'exited' || this.#state.at === 'failed') return;
    try {
      await this.signal('SIGKILL');
    } catch (error) {
      if (!(error instanceof HawserError) || error.code !== 'session_ended') throw error;
    }
  }

  /** @throws HawserError `not_a_terminal`, `session_ended`. */
  async resize(size: TerminalSize): Promise<void> {
    await this.#ask('Resize', size);
  }

  /** The limits that are in force now. */
  async rlimits(): Promise<RlimitTable> {
    return this.setRlimits({});
  }

  /** Changes limits of the leader; its children inherit them from then on. @returns all that are in force then. */
  async setRlimits(settings: RlimitSettings): Promise<RlimitTable> {
    const reply = await this.#ask('Rlimits', { set: rlimitsOnWire(settings) });
    if (reply.name !== 'RlimitsReply')
      throw new HawserError('message_invalid', `the agent answered Rlimits with ${reply.name}`);
    return rlimitTable(reply.body.rlimits);
  }

  /** Cancels a launch that is under way. */
  cancel(): void {
    if (this.#state.at === 'starting' && this.#channel.connection.open)
      this.#channel.send('Signal', { signal: 'SIGKILL' });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stdout.destroy();
    this.stderr?.destroy();
    this.stdin?.destroy();
    await this.kill().catch(() => {});
    await this.exited.catch(() => {});
  }

  // What the connection says

  #message(message: Message): void {
    switch (message.name) {
      case 'ExecStarted':
        this.#onStarted(message.body);
        return;
      case 'ExecFailed':
        this.#onFailed(failureOf(message.body));
        return;
      case 'Exited':
        this.#onExited(message.body);
        return;
      case 'Closed':
        this.#onComplete(message.body);
        return;
      case 'StdinClosed':
        this.#input?.closedByCommand(
          new HawserError('stdin_closed', stdinClosedText(message.body), { errno: message.body.errno }),
        );
        return;
      case 'Done':
      case 'RlimitsReply':
        this.#takeReply(message.body.re)?.resolve(message);
        return;
      case 'Failure':
        this.#onFailure(message.body);
        return;
      default:
      // A guest may send what it likes: what is not for a session changes nothing here.
    }
  }

  #onStarted({ sessionId, pid, startedAtUs }: Payload<'ExecStarted'>): void {
    if (this.#state.at !== 'starting') return;
    this.#state = { at: 'running', id: sessionId, pid, startedAtUs };
    this.#started.resolve(this);
  }

  #onFailed(error: HawserError): void {
    if (this.#state.at !== 'starting') return;
    this.#end(error);
    this.#channel.release();
  }

  #onExited(record: ExitRecord): void {
    if (this.#state.at !== 'running') return;
    const exit: ExitResult = { ...record, code: record.code ?? null, signal: record.signal ?? null };
    this.#state = { ...this.#state, at: 'exited' };
    this.#input?.closedByCommand(new HawserError('stdin_closed', 'the command has ended'));
    this.#exited.resolve(exit);
    for (const reply of this.#replies.values())
      reply.reject(new HawserError('session_ended', `session ${this.id} has ended`));
    this.#replies.clear();
    if (record.outputComplete) this.#onComplete(record);
  }

  /** The outputs' final counts. They hold every byte that there was, or it is told. */
  #onComplete({ stdout, stderr }: Payload<'Closed'>): void {
    this.#finalBytes ??= [stdout.bytes, stderr.bytes];
    this.#settleOutputs();
  }

  /** Called whenever an output ends or was consumed to its end. */
  #settleOutputs(): void {
    const final = this.#finalBytes;
    if (final === undefined || !this.#outputs.every((output) => output.complete)) return;
    this.#outputs.forEach((output, i) => {
      if (output.receivedBytes === final[i]) return;
      const text = `${i === 0 ? 'stdout' : 'stderr'} ended after ${output.receivedBytes} bytes, the exit record says ${final[i]}`;
      output.destroy(new HawserError('output_mismatch', text));
      this.#closed.reject(new HawserError('output_mismatch', text));
    });
    this.#closed.resolve();
    if (this.#outputs.every((output) => output.consumed)) this.#channel.release();
  }

  #onFailure(body: Payload<'Failure'>): void {
    const error = failureOf(body);
    if (body.re === this.#requestNumber) this.#onFailed(error);
    else if (body.re !== undefined) this.#takeReply(body.re)?.reject(error);
  }

  /** There will be no more of the session: it failed to start, or the connection is over. */
  #end(error: HawserError): void {
    const at = this.#state.at;
    if (at === 'starting' || at === 'running') this.#state = { at: 'failed', error };
    for (const reply of this.#replies.values()) reply.reject(error);
    this.#replies.clear();
    this.#started.reject(error);
    this.#exited.reject(error);
    this.#closed.reject(error);
    this.#input?.destroy(error);
    // A command that never ran wrote nothing: its outputs end; one that was lost ends in an error.
    for (const output of this.#outputs) {
      if (output.complete) continue;
      if (at === 'starting') output.push(null);
      else output.destroy(error);
    }
  }

  // Asking

  async #ask<N extends 'Signal' | 'Resize' | 'Rlimits'>(name: N, body: Payload<N>): Promise<Message> {
    const state = this.#state;
    if (state.at === 'failed') throw state.error;
    if (state.at === 'exited') throw new HawserError('session_ended', `session ${state.id} has ended`);
    const number = this.#channel.send(name, body);
    return new Promise<Message>((resolve, reject) => {
      this.#replies.set(number, { resolve, reject });
    });
  }

  #takeReply(re: number): Reply | undefined {
    const reply = this.#replies.get(re);
    this.#replies.delete(re);
    return reply;
  }

  #startedState(): { id: string; pid: number; startedAtUs: number } {
    const state = this.#state;
    if (state.at === 'running' || state.at === 'exited') return state;
    throw new HawserError('internal', 'the session has not started');
  }

  #openOutput(type: 'Stdout' | 'Stderr'): OutputStream {
    const output = new OutputStream(() => this.#settleOutputs());
    output.attach(this.#channel.openReceiveStream(type, output));
    this.#outputs.push(output);
    return output;
  }

  #openInput(spoolBytesMax: number): InputStream {
    const input = new InputStream();
    input.attach(this.#channel.openSendStream('Stdin', spoolBytesMax, () => input.room()));
    return input;
  }
}

function stdinClosedText({ bytes, errno }: Payload<'StdinClosed'>): string {
  return `the command closed its stdin after ${bytes} bytes (${errno})`;
}

/** What the agent says went wrong. A code of a later agent's becomes `internal`, its text stays. */
function failureOf({ code, message, errno, stage }: Payload<'ExecFailed'>): HawserError {
  const known = isErrorCode(code);
  return new HawserError(known ? code : 'internal', known ? message : `${code}: ${message}`, {
    errno,
    stage: launchStages.find((name) => name === stage),
  });
}

function asTooLong(error: unknown): unknown {
  if (!(error instanceof HawserError) || error.code !== 'frame_too_large') return error;
  return new HawserError(
    'arguments_too_long',
    `cmd, args and env do not fit into one message: ${error.message}`,
    { cause: error },
  );
}
