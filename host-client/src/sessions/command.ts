import type {
  Channel,
  ChannelHandler,
  ExecRequest,
  ExitRecord,
  Message,
  Payload,
  ReceiveStream,
  TerminalSize,
} from '@hawser/protocol';
import { HawserError, isErrorCode, launchStages } from '@hawser/protocol';
import { rlimitsOnWire, rlimitTable } from '../exec-request.js';
import type { RlimitSettings, RlimitTable, SignalOptions } from '../options.js';
import type { CommandInput } from './command-input.js';
import type { CommandOutput } from './command-output.js';
import { Deferred } from './deferred.js';

/**
 * How a command ended: one of `code` and `signal` is not null, as in node:child_process. Both are where the guest
 * does not know: somebody else there has waited for its process.
 */
export type ExitResult = Omit<ExitRecord, 'code' | 'signal'> & {
  readonly code: number | null;
  readonly signal: string | null;
};

/** How a session is come by: a command is started, or one that is there is followed. */
export type CommandOpening =
  | {
      readonly name: 'ExecRequest';
      readonly body: ExecRequest;
      /** Where stdin comes from, `null` for a request that has none. */
      readonly input: CommandInput | null;
      /** Where stdout goes, and stderr where it is apart. */
      readonly outputs: readonly CommandOutput[];
    }
  | {
      readonly name: 'Attach';
      readonly body: Payload<'Attach'>;
      readonly input: CommandInput | null;
      /** Asked when it is known whether the session has a terminal. */
      readonly outputs: (terminal: boolean) => readonly CommandOutput[];
    };

/** What a session is called, which stays when it is over. */
interface Identity {
  readonly id: string;
  readonly pid: number;
  readonly startedAtUs: number;
}

/**
 * - exited: the leader is dead; what it and its descendants wrote may still be on its way.
 * - over: everything came and was consumed; the channel is forgotten at both ends.
 * - failed: it never started, it was let go of, or its connection is over.
 */
type SessionState = { at: 'starting' | 'running' | 'exited' | 'over' } | { at: 'failed'; error: HawserError };

interface Reply {
  resolve(message: Message): void;
  reject(error: HawserError): void;
}

/** One command in the guest: what is sent for it and what is known of it. Who reads its output is its owner's choice. */
export class Command {
  readonly #channel: Channel;
  readonly #input: CommandInput | null;
  readonly #opening: CommandOpening;
  readonly #stdinSpoolBytes: number;
  readonly #requestNumber: number;
  #outputs: readonly { readonly sink: CommandOutput; readonly stream: ReceiveStream }[] = [];
  #stdinFrom: number | undefined;
  #outputFrom: readonly [number, number] = [0, 0];
  readonly #started = new Deferred<void>();
  readonly #exited = new Deferred<ExitResult>();
  readonly #closed = new Deferred<void>();
  readonly #replies = new Map<number, Reply>();
  #state: SessionState = { at: 'starting' };
  #identity: Identity | undefined;
  /** Bytes of stdout and stderr, when the guest says that there will be no more. */
  #finalBytes: [number, number] | undefined;
  #detached: Promise<void> | undefined;
  /** Number of the `Detach` that waits for its answer. */
  #detachNumber: number | undefined;

  /** Sends the request. @throws HawserError when the request does not fit. */
  constructor(open: (handler: ChannelHandler) => Channel, opening: CommandOpening, stdinSpoolBytes: number) {
    this.#opening = opening;
    this.#input = opening.input;
    this.#stdinSpoolBytes = stdinSpoolBytes;
    this.#channel = open({
      message: (message) => this.#message(message),
      closed: (error) => this.#end(error),
    });
    if (opening.name === 'ExecRequest') {
      this.#openOutputs(opening.outputs, [0, 0]);
      if (opening.input !== null) this.#openInput(opening.input, 0);
    }
    try {
      this.#requestNumber = this.#channel.send(opening.name, opening.body);
    } catch (error) {
      this.#channel.release();
      throw asTooLong(error);
    }
  }

  /** Resolves when the command runs. */
  get started(): Promise<void> {
    return this.#started.promise;
  }

  get id(): string {
    return this.#known.id;
  }

  get pid(): number {
    return this.#known.pid;
  }

  get startedAt(): Date {
    return new Date(this.#known.startedAtUs / 1000);
  }

  /** Position of the first byte of stdin that is written here; nothing where none is. */
  get stdinFrom(): number | undefined {
    return this.#stdinFrom;
  }

  /** Positions of the first byte of each output that comes here. */
  get outputFrom(): readonly [stdout: number, stderr: number] {
    return this.#outputFrom;
  }

  /** Resolves when the leader is dead; what it wrote may still be on its way. Rejects when the connection ends first. */
  get exited(): Promise<ExitResult> {
    return this.#exited.promise;
  }

  /** Resolves when nobody in the guest holds the output any more, and all of it came. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /** As `closed` would say. */
  get isClosed(): boolean {
    return this.#closed.resolved;
  }

  async signal(signal: string, options: SignalOptions = {}): Promise<void> {
    await this.#ask('Signal', { signal, target: options.target });
  }

  /** SIGKILL to all processes of the session. Also cancels a launch that is under way. */
  async kill(): Promise<void> {
    if (this.#state.at !== 'starting' && this.#state.at !== 'running') return;
    await unlessEnded(this.#ask('KillTree', {}));
  }

  /** Lets go of the session, which goes on. One that is over meanwhile needs nothing of that. */
  detach(): Promise<void> {
    return (this.#detached ??= this.#detach());
  }

  async #detach(): Promise<void> {
    // Messages overtake data: the agent is told how much of it comes first.
    const sent = this.#state.at === 'running' ? await this.#input?.sent() : undefined;
    if (this.#isOver()) return;
    const number = this.#channel.send('Detach', { stdinBytes: sent?.bytes, stdinEnded: sent?.ended });
    this.#detachNumber = number;
    const reply = new Promise<Message>((resolve, reject) => this.#replies.set(number, { resolve, reject }));
    await unlessEnded(reply);
    if (this.#isOver()) return;
    this.#end(new HawserError('detached', `detached from session ${this.id}`));
    this.#channel.release();
  }

  #isOver(): boolean {
    return this.#state.at === 'failed' || this.#state.at === 'over';
  }

  async resize(size: TerminalSize): Promise<void> {
    await this.#ask('Resize', size);
  }

  async setRlimits(settings: RlimitSettings): Promise<RlimitTable> {
    const reply = await this.#ask('Rlimits', { set: rlimitsOnWire(settings) });
    if (reply.name !== 'RlimitsReply')
      throw new HawserError('message_invalid', `the agent answered Rlimits with ${reply.name}`);
    return rlimitTable(reply.body.rlimits);
  }

  // What the connection says

  #message(message: Message): void {
    switch (message.name) {
      case 'ExecStarted':
        this.#onStarted(message.body);
        return;
      case 'Attached':
        this.#onAttached(message.body);
        return;
      case 'StdinTaken':
        this.#input?.over(
          new HawserError(
            'stdin_taken',
            `another host writes to the command now, after ${message.body.bytes} bytes`,
          ),
        );
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
        this.#input?.over(
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
    this.#identity = { id: sessionId, pid, startedAtUs };
    this.#state = { at: 'running' };
    this.#started.resolve();
  }

  #onAttached({ sessionId, pid, startedAtUs, tty, stdout, stderr, stdinFrom }: Payload<'Attached'>): void {
    if (this.#state.at !== 'starting' || this.#opening.name !== 'Attach') return;
    this.#openOutputs(this.#opening.outputs(tty), [stdout.from, stderr?.from ?? 0]);
    if (this.#input !== null && stdinFrom !== undefined) this.#openInput(this.#input, stdinFrom);
    this.#onStarted({ sessionId, pid, startedAtUs });
  }

  #onFailed(error: HawserError): void {
    if (this.#state.at !== 'starting') return;
    this.#end(error);
    this.#channel.release();
  }

  #onExited(record: ExitRecord): void {
    if (this.#state.at !== 'running') return;
    // The record was decoded for us: completed in place, since a spread of it takes as long as decoding it.
    const exit = Object.assign(record, {
      code: record.code ?? null,
      signal: record.signal ?? null,
    }) as ExitResult;
    this.#state = { at: 'exited' };
    this.#input?.ended();
    this.#exited.resolve(exit);
    // It can be left still, with what it has not sent.
    for (const number of this.#replies.keys())
      if (number !== this.#detachNumber) this.#takeReply(number)?.reject(this.#hasEnded());
    if (record.outputComplete) this.#onComplete(record);
  }

  /** The outputs' final counts. They hold every byte that there was, or it is told. */
  #onComplete({ stdout, stderr }: Payload<'Closed'>): void {
    // Sooner, its guest has said it out of turn: who waits for the start or the exit would do so for ever.
    if (this.#state.at !== 'exited') return;
    this.#finalBytes ??= [stdout.bytes, stderr.bytes];
    this.#settleOutputs();
  }

  /** Called whenever an output ends or was consumed to its end. */
  #settleOutputs(): void {
    const final = this.#finalBytes;
    if (final === undefined || !this.#outputs.every(({ stream }) => stream.ended)) return;
    this.#outputs.forEach(({ sink, stream }, i) => {
      if (stream.receivedBytes === final[i]) return;
      const text = `${i === 0 ? 'stdout' : 'stderr'} ended after ${stream.receivedBytes} bytes, the exit record says ${final[i]}`;
      const error = new HawserError('output_mismatch', text);
      sink.fail(error);
      this.#closed.reject(error);
    });
    this.#closed.resolve();
    if (this.#state.at !== 'exited' || !this.#outputs.every(({ stream }) => stream.finished)) return;
    this.#state = { at: 'over' };
    this.#channel.release();
    // Nobody hears of what is answered on a channel that is forgotten.
    for (const number of this.#replies.keys()) this.#takeReply(number)?.reject(this.#hasEnded());
  }

  #hasEnded(): HawserError {
    return new HawserError('session_ended', `session ${this.id} has ended`);
  }

  #onFailure(body: Payload<'Failure'>): void {
    const error = failureOf(body);
    if (body.re === this.#requestNumber) this.#onFailed(asRefusal(error));
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
    this.#input?.over(error);
    // A command that never ran wrote nothing: its outputs end; one that was lost ends in an error.
    for (const { sink, stream } of this.#outputs) {
      if (stream.ended) continue;
      if (at === 'starting') sink.end();
      else sink.fail(error);
    }
  }

  // Asking

  async #ask<N extends 'Signal' | 'Resize' | 'Rlimits' | 'KillTree'>(
    name: N,
    body: Payload<N>,
  ): Promise<Message> {
    const state = this.#state;
    if (state.at === 'failed') throw state.error;
    if (state.at === 'exited' || state.at === 'over') throw this.#hasEnded();
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

  get #known(): Identity {
    if (this.#identity !== undefined) return this.#identity;
    throw new HawserError('internal', 'the session has not started');
  }

  #openOutputs(sinks: readonly CommandOutput[], from: readonly [number, number]): void {
    this.#outputFrom = from;
    this.#outputs = sinks.map((sink, i) => {
      const stream = this.#channel.openReceiveStream(i === 0 ? 'Stdout' : 'Stderr', sink, from[i]);
      sink.attach(stream, () => this.#settleOutputs());
      return { sink, stream };
    });
  }

  #openInput(input: CommandInput, from: number): void {
    this.#stdinFrom = from;
    input.attach(this.#channel.openSendStream('Stdin', this.#stdinSpoolBytes, () => input.room(), from));
  }
}

/** @throws HawserError for which the answer was another one than that it has ended. */
async function unlessEnded(reply: Promise<Message>): Promise<void> {
  try {
    await reply;
  } catch (error) {
    if (!(error instanceof HawserError) || error.code !== 'session_ended') throw error;
  }
}

function stdinClosedText({ bytes, errno }: Payload<'StdinClosed'>): string {
  return `stdin of the command is closed, after ${bytes} bytes (${errno})`;
}

/** What the agent says went wrong. A code of a later agent's becomes `internal`, its text stays. */
export function failureOf({ code, message, errno, stage }: Payload<'ExecFailed'>): HawserError {
  const known = isErrorCode(code);
  return new HawserError(known ? code : 'internal', known ? message : `${code}: ${message}`, {
    errno,
    stage: launchStages.find((name) => name === stage),
  });
}

/** A request that no schema takes has a value in it that the caller gave. */
function asRefusal(error: HawserError): HawserError {
  if (error.code !== 'message_invalid') return error;
  return new HawserError('invalid_argument', error.message, { stage: 'validate', cause: error });
}

function asTooLong(error: unknown): unknown {
  if (!(error instanceof HawserError) || error.code !== 'frame_too_large') return error;
  return new HawserError(
    'arguments_too_long',
    `cmd, args and env do not fit into one message: ${error.message}`,
    { cause: error },
  );
}
