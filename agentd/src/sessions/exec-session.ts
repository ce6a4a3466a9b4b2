import type {
  Channel,
  ChannelHandler,
  ExitRecord,
  Message,
  Payload,
  SendStream,
  StreamCount,
} from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import { systemCallError } from '../ffi/errno.js';
import * as native from '../ffi/native.js';
import type { WaitResult } from '../processes/exit-status.js';
import { reapPidfd } from '../processes/exit-status.js';
import type { LaunchRequest } from '../processes/launch-request.js';
import type { LaunchedProcess, LaunchFailure } from '../processes/launcher.js';
import type { Watch } from '../processes/poller.js';
import { POLL_IN } from '../processes/poller.js';
import { PseudoTerminal } from '../processes/pseudo-terminal.js';
import {
  getLimit,
  limitInfinity,
  limitNames,
  limitNumber,
  resourceLimit,
  setLimit,
} from '../processes/rlimits.js';
import { signalName, signalNumber } from '../processes/signals.js';
import type { ExecPlan } from './exec-plan.js';
import { InputPump } from './input-pump.js';
import { OutputPump } from './output-pump.js';
import type { SessionServices } from './sessions.js';

/** Why Hawser itself ended a session. */
export type KillReason = NonNullable<ExitRecord['killedBy']>;

/**
 * - starting: the child makes its way to its execve.
 * - hanging: its launch was given up, which the host was told, and its process has not died of that yet.
 * - running: the command runs.
 * - draining: the leader is gone and `Exited` was sent; descendants still hold an output.
 * - ended: nothing of it is left to be read here; the host may still be consuming.
 */
type SessionState =
  | { at: 'starting' }
  | { at: 'hanging' }
  | { at: 'running'; startedAtUs: number; startedAt: bigint }
  | { at: 'draining' }
  | { at: 'ended' };

const SIGKILL = 9;

/** One command: its process, its streams, and the channel of the host that asked for it. */
export class ExecSession implements ChannelHandler {
  readonly id: string;
  readonly #services: SessionServices;
  readonly #plan: ExecPlan;
  readonly #channel: Channel;
  readonly #terminal: PseudoTerminal | undefined;
  readonly #process: LaunchedProcess;
  readonly #exitWatch: Watch;
  readonly #stdout: SendStream;
  readonly #stderr: SendStream | undefined;
  readonly #outputs: OutputPump[] = [];
  readonly #input: InputPump | undefined;
  #state: SessionState = { at: 'starting' };
  /** Why it is being ended; nothing else ends it then. */
  #kill: KillReason | undefined;
  /** What the host has sent the leader, by name: one of these may be what it dies of. */
  readonly #signalled = new Set<string>();
  #cancelTimer: (() => void) | undefined;
  #stdinFd = -1;
  #closed = false;

  /** @throws HawserError when there is no process; nothing is left behind. */
  constructor(services: SessionServices, id: string, channel: Channel, plan: ExecPlan) {
    this.id = id;
    this.#services = services;
    this.#plan = plan;
    this.#channel = channel;
    this.#terminal = plan.terminal === undefined ? undefined : PseudoTerminal.open(plan.terminal);
    try {
      this.#process = services.launcher.launch({ ...plan.launch, stdio: this.#stdio() }, (failure) =>
        this.#launched(failure),
      );
    } catch (error) {
      this.#terminal?.close();
      throw error;
    }
    this.#stdinFd = this.#process.stdinFd;
    const spoolBytes = services.limits.spoolBytesMax;
    this.#stdout = channel.openSendStream('Stdout', spoolBytes, () => this.#consumed(0));
    this.#stderr =
      this.#terminal === undefined
        ? channel.openSendStream('Stderr', spoolBytes, () => this.#consumed(1))
        : undefined;
    this.#input = plan.stdin === 'pipe' ? this.#openInput() : undefined;
    this.#exitWatch = services.poller.watch(this.#process.pidfd, POLL_IN, () => this.#leaderDied());
    if (plan.timeoutMs !== undefined) this.#after(plan.timeoutMs, () => this.terminate('timeout'));
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** How long it may take until `terminate` sends SIGKILL. */
  get killGraceMs(): number {
    return this.#state.at === 'running' ? this.#plan.killGraceMs : 0;
  }

  /** Ends the session: its kill signal, after its grace SIGKILL; a launch that hangs is cancelled. */
  terminate(reason: KillReason): void {
    // A busy agent may not have heard yet that the command runs: then nothing hangs.
    if (this.#state.at === 'starting') this.#process.settle();
    if (this.#state.at === 'starting') {
      this.#kill ??= reason;
      this.#process.cancel();
      // What hangs in the kernel dies when the kernel lets go of it, if ever: nobody waits for that here.
      queueMicrotask(() => this.#cancelled(reason));
      return;
    }
    if (this.#state.at !== 'running' || this.#kill !== undefined) return;
    this.#kill = reason;
    this.#signalGroup(this.#plan.killSignal);
    this.#after(this.#plan.killGraceMs, () => this.#signalGroup(SIGKILL));
  }

  // What the host says

  message(message: Message): void {
    try {
      this.#answer(message);
    } catch (error) {
      const { code, message: text, errno, stage } = asHawserError(error);
      this.#channel.send('Failure', { re: message.number, code, message: text, errno, stage });
    }
  }

  /** The connection is over: so is the session. */
  closed(_error: HawserError): void {
    this.terminate('disconnect');
    this.#closeEnds();
  }

  #answer(message: Message): void {
    switch (message.name) {
      case 'Signal':
        this.#signal(message.body);
        break;
      case 'Resize':
        this.#runningTerminal().resize(message.body);
        break;
      case 'Rlimits':
        this.#rlimits(message.number, message.body);
        return;
      default:
        throw new HawserError('unsupported', `${message.name} is not for a running session`);
    }
    this.#channel.send('Done', { re: message.number });
  }

  #signal({ signal, target }: Payload<'Signal'>): void {
    const number = signalNumber(signal);
    if (this.#state.at === 'starting' && number === SIGKILL) {
      this.terminate('request');
      return;
    }
    this.#assertRunning();
    switch (target ?? 'group') {
      case 'leader':
        check('pidfd_send_signal', native.signalPidfd(this.#process.pidfd, number), `process ${this.pid}`);
        this.#signalled.add(signalName(number));
        return;
      case 'group':
        check('kill', native.kill(-this.pid, number), `process group ${this.pid}`);
        this.#signalled.add(signalName(number));
        return;
      case 'foreground':
        this.#signalForeground(number);
        return;
      case 'tree':
        throw new HawserError('unsupported', 'this agent does not signal whole trees');
    }
  }

  #signalForeground(number: number): void {
    const terminal = this.#runningTerminal();
    const group = native.foregroundGroup(terminal.masterFd);
    // 0 is a terminal that has no foreground group now: the session's leader is what is left.
    if (group < 0) throw systemCallError('ioctl TIOCGPGRP', group, terminal.slavePath);
    const target = group === 0 ? this.pid : group;
    check('kill', native.kill(-target, number), `foreground group ${target}`);
    if (target === this.pid) this.#signalled.add(signalName(number));
  }

  #rlimits(re: number, { set }: Payload<'Rlimits'>): void {
    this.#assertRunning();
    // All are checked before the first is set.
    const limits = (set ?? []).map(({ resource, soft, hard }) => resourceLimit(resource, soft, hard));
    for (const limit of limits) setLimit(this.pid, limit);
    const rlimits = limitNames.map((resource) => {
      const { soft, hard } = getLimit(this.pid, limitNumber(resource));
      return { resource, soft: limitOnWire(soft), hard: limitOnWire(hard) };
    });
    this.#channel.send('RlimitsReply', { re, rlimits });
  }

  #assertRunning(): void {
    if (this.#state.at === 'running') return;
    if (this.#state.at === 'starting')
      throw new HawserError('invalid_argument', `session ${this.id} is still starting`);
    throw new HawserError('session_ended', `session ${this.id} has ended`);
  }

  #runningTerminal(): PseudoTerminal {
    this.#assertRunning();
    if (this.#terminal === undefined)
      throw new HawserError('not_a_terminal', `session ${this.id} has no terminal`);
    return this.#terminal;
  }

  // What the process does

  #launched(failure: LaunchFailure | null): void {
    if (this.#state.at !== 'starting') return; // it was given up before
    if (failure !== null) return this.#failed(failure);
    if (this.#kill !== undefined) return this.#failed(cancelled(this.#kill));
    const startedAtUs = Date.now() * 1000;
    this.#state = { at: 'running', startedAtUs, startedAt: process.hrtime.bigint() };
    this.#tell('ExecStarted', { sessionId: this.id, pid: this.pid, startedAtUs });
    this.#openOutputs();
  }

  /** Its process keeps the session's place until it is gone: launches that hang are bounded, too. */
  #cancelled(reason: KillReason): void {
    if (this.#state.at !== 'starting') return;
    this.#state = { at: 'hanging' };
    this.#tellFailure(cancelled(reason));
  }

  #failed(failure: LaunchFailure): void {
    this.#state = { at: 'ended' };
    this.#services.stoppedRunning();
    this.#tellFailure(failure);
  }

  #tellFailure({ code, message, stage, errno }: LaunchFailure): void {
    this.#cancelTimer?.();
    this.#tell('ExecFailed', { code, message, stage, errno: errno === '' ? undefined : errno });
    this.#input?.stop();
    this.#closeEnds();
    this.#channel.release();
    // The child is dead or dying: its pidfd says when it can be reaped.
  }

  #leaderDied(): void {
    // A dead child's launch is decided, whichever event came first.
    this.#process.settle();
    // What was to be ended goes with its leader, all of its group: while the leader is a zombie,
    // nobody else can have the group's number.
    if (this.#kill !== undefined) this.#signalGroup(SIGKILL);
    const result = reapPidfd(this.#process.pidfd);
    if (result === null) return;
    this.#cancelTimer?.();
    this.#exitWatch.close();
    if (this.#state.at === 'running') this.#exited(result, this.#state);
    if (this.#state.at === 'hanging') {
      this.#state = { at: 'ended' };
      this.#services.stoppedRunning();
    }
    this.#services.leaderReaped(this);
  }

  #exited({ status, usage }: WaitResult, started: { startedAtUs: number; startedAt: bigint }): void {
    for (const output of this.#outputs) output.drain();
    this.#input?.stop();
    const complete = this.#outputs.every((output) => output.ended);
    this.#state = { at: complete ? 'ended' : 'draining' };
    this.#services.stoppedRunning();
    this.#tell('Exited', {
      ...('code' in status ? { code: status.code, coreDumped: false } : status),
      timedOut: this.#kill === 'timeout',
      killedBy:
        this.#kill ?? ('signal' in status && this.#signalled.has(status.signal) ? 'request' : undefined),
      rusage: usage,
      startedAtUs: started.startedAtUs,
      durationUs: Number((process.hrtime.bigint() - started.startedAt) / 1000n),
      stdout: countOf(this.#stdout),
      stderr: countOf(this.#stderr),
      outputComplete: complete,
    });
    // What the host waits for leaves first.
    setImmediate(() => (complete ? this.#over() : this.#closeStdin()));
  }

  #outputEnded(stream: SendStream): void {
    stream.end();
    if (this.#state.at !== 'draining' || !this.#outputs.every((output) => output.ended)) return;
    this.#state = { at: 'ended' };
    this.#tell('Closed', { stdout: countOf(this.#stdout), stderr: countOf(this.#stderr) });
    this.#over();
  }

  /** The host has consumed bytes of an output. */
  #consumed(output: 0 | 1): void {
    this.#outputs[output]?.resume();
    this.#releaseWhenConsumed();
  }

  #over(): void {
    this.#closeEnds();
    this.#releaseWhenConsumed();
  }

  #releaseWhenConsumed(): void {
    if (this.#state.at !== 'ended' || !this.#stdout.consumed || this.#stderr?.consumed === false) return;
    this.#channel.release();
  }

  /** Sends to the host, while there is one. */
  #tell<N extends 'ExecStarted' | 'ExecFailed' | 'Exited' | 'Closed' | 'StdinClosed'>(
    name: N,
    body: Payload<N>,
  ): void {
    if (this.#channel.connection.open) this.#channel.send(name, body);
  }

  // Signals and timers

  /** To the leader's group; one that is gone already is no error. Only while the leader is not reaped. */
  #signalGroup(signal: number): void {
    native.kill(-this.pid, signal);
  }

  #after(ms: number, callback: () => void): void {
    this.#cancelTimer?.();
    this.#cancelTimer = this.#services.clock.after(ms, callback);
  }

  // Descriptors

  #stdio(): LaunchRequest['stdio'] {
    const { stdin } = this.#plan;
    return this.#terminal === undefined
      ? { kind: 'pipes', stdin }
      : { kind: 'terminal', stdin, slavePath: this.#terminal.slavePath };
  }

  #openOutputs(): void {
    const { poller } = this.#services;
    const owned = this.#terminal === undefined;
    const open = (fd: number, stream: SendStream): void => {
      this.#outputs.push(new OutputPump(poller, { fd, owned }, stream, () => this.#outputEnded(stream)));
    };
    open(this.#terminal?.masterFd ?? this.#process.stdoutFd, this.#stdout);
    if (this.#stderr !== undefined) open(this.#process.stderrFd, this.#stderr);
  }

  #openInput(): InputPump {
    const { poller, limits, budget } = this.#services;
    const input = new InputPump({
      poller,
      fd: this.#terminal?.inputFd ?? this.#process.stdinFd,
      spool: this.#channel.connection.newSpool(limits.windowBytes),
      budget,
      windowBytesMax: limits.windowBytes,
      // A pipe ends by being closed, a terminal that reads lines by a character.
      endMark: (lastByte) => this.#terminal?.endOfFile(lastByte) ?? new Uint8Array(),
      onEnd: () => this.#closeStdin(),
      onBroken: (bytes, errno) => this.#inputBroken(bytes, errno),
    });
    input.attach(this.#channel.openReceiveStream('Stdin', input));
    return input;
  }

  #inputBroken(bytes: number, errno: string): void {
    this.#tell('StdinClosed', { bytes, errno });
    this.#closeStdin();
  }

  #closeStdin(): void {
    if (this.#terminal !== undefined || this.#stdinFd < 0) return;
    native.close(this.#stdinFd);
    this.#stdinFd = -1;
  }

  /** Closes what of the session is open. Whoever still writes to it gets SIGPIPE, or SIGHUP in a terminal. */
  #closeEnds(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#input?.stop();
    this.#closeStdin();
    for (const output of this.#outputs) output.close();
    if (this.#terminal !== undefined) this.#terminal.close();
    else if (this.#outputs.length === 0)
      for (const fd of [this.#process.stdoutFd, this.#process.stderrFd]) native.close(fd);
  }
}

function cancelled(reason: KillReason): LaunchFailure {
  const timedOut = reason === 'timeout';
  return {
    code: timedOut ? 'timed_out' : 'cancelled',
    message: timedOut ? 'the launch hung in the kernel and ran out of time' : 'the launch was cancelled',
    stage: 'exec',
    errno: '',
  };
}

function countOf(stream: SendStream | undefined): StreamCount {
  return { bytes: stream?.spool.end ?? 0, dropped: 0 };
}

function limitOnWire(value: bigint): number | bigint | 'unlimited' {
  if (value === limitInfinity) return 'unlimited';
  return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
}

function check(name: string, result: number, what: string): void {
  if (result < 0) throw systemCallError(name, result, what);
}

/** For an answer to the host: a fault of our own is told as one. */
function asHawserError(error: unknown): HawserError {
  return error instanceof HawserError ? error : new HawserError('internal', String(error), { cause: error });
}
