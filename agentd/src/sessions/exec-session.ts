import type { Connection, ExitRecord, Limits, Message, Payload, Spool } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import * as native from '../ffi/native.js';
import type { AfterLeader, ProcessTree } from '../processes/containment/process-tree.js';
import type { WaitResult } from '../processes/exit-status.js';
import { reapPidfd } from '../processes/exit-status.js';
import type { LaunchRequest } from '../processes/launch-request.js';
import type { LaunchedProcess, LaunchFailure } from '../processes/launcher.js';
import type { Watch } from '../processes/poller.js';
import { POLL_IN } from '../processes/poller.js';
import { PseudoTerminal } from '../processes/pseudo-terminal.js';
import { signalNumber } from '../processes/signals.js';
import type { Attachment, AttachmentHandler } from './attachment.js';
import type { ExecPlan } from './exec-plan.js';
import { InputPump } from './input-pump.js';
import { OutputPump } from './output-pump.js';
import { OutputSpool } from './output-spool.js';
import { SessionControl } from './session-control.js';
import type { SessionServices } from './sessions.js';
import type { TreeRequest } from './tree-requests.js';
import { answerTreeRequest, isTreeRequest } from './tree-requests.js';

/** Why Hawser itself ended a session. */
export type KillReason = NonNullable<ExitRecord['killedBy']>;

/**
 * - starting: the child makes its way to its execve.
 * - hanging: its launch was given up, which the host was told, and its process has not died of that yet.
 * - running: the command runs.
 * - draining: the leader is gone and `Exited` was sent; descendants still hold an output.
 * - ended: nothing of it is left to be read here; hosts may still be consuming.
 */
type SessionState =
  | { at: 'starting' }
  | { at: 'hanging' }
  | { at: 'running'; startedAtUs: number; startedAt: bigint }
  | { at: 'draining'; exit: ExitRecord }
  | { at: 'ended'; exit: ExitRecord | undefined };

const SIGKILL = 9;

/** How long an output's end waits for its leader's, which is most often the same moment, ms. */
const endHoldMs = 5;

/** One command: its process, its output, and the hosts that are attached to it. */
export class ExecSession implements AttachmentHandler {
  readonly id: string;
  readonly #services: SessionServices;
  readonly #plan: ExecPlan;
  readonly #terminal: PseudoTerminal | undefined;
  readonly #tree: ProcessTree;
  readonly #process: LaunchedProcess;
  readonly #control: SessionControl;
  readonly #exitWatch: Watch;
  readonly #attachments = new Set<Attachment>();
  readonly #stdout: OutputSpool;
  readonly #stderr: OutputSpool | undefined;
  readonly #pumps: OutputPump[] = [];
  /** Outputs that ended while the leader lives, which no host was told. */
  readonly #heldEnds: OutputSpool[] = [];
  #cancelHold: (() => void) | undefined;
  readonly #input: InputPump | undefined;
  #state: SessionState = { at: 'starting' };
  #startedAtUs = 0;
  /** A host has left it to itself, or asked for that: it is there for whoever comes. */
  #kept: boolean;
  /** Why it is being ended; nothing else ends it then. */
  #kill: KillReason | undefined;
  #cancelTimer: (() => void) | undefined;
  #cancelDisconnect: (() => void) | undefined;
  #stdinFd = -1;
  #closed = false;
  #forgotten = false;

  /** @throws HawserError when there is no process; nothing is left behind. */
  constructor(services: SessionServices, id: string, first: Attachment, plan: ExecPlan) {
    this.id = id;
    this.#services = services;
    this.#plan = plan;
    this.#kept = plan.kept;
    this.#tree = services.containment.prepare(id, plan.cgroup);
    try {
      this.#terminal = plan.terminal === undefined ? undefined : PseudoTerminal.open(plan.terminal);
      const request = this.#tree.contained({ ...plan.launch, stdio: this.#stdio() });
      this.#process = services.launcher.launch(request, (failure) => this.#launched(failure));
    } catch (error) {
      this.#terminal?.close();
      this.#tree.abandon();
      throw error;
    }
    this.#tree.assign(this.#process.pid);
    this.#control = new SessionControl(this.#process, this.#terminal, this.#tree);
    this.#stdinFd = this.#process.stdinFd;
    const { connection } = first.channel;
    const output = (at: 0 | 1): OutputSpool =>
      new OutputSpool(outputSpool(connection, services.limits, plan), plan.retention, () =>
        this.#pumps[at]?.resume(),
      );
    this.#stdout = output(0);
    this.#stderr = this.#terminal === undefined ? output(1) : undefined;
    this.#input = plan.stdin === 'pipe' ? this.#openInput(connection) : undefined;
    this.#follow(first, { stdout: 0, stderr: 0 });
    this.#input?.openWriter(first.channel, 0);
    this.#exitWatch = services.poller.watch(this.#process.pidfd, POLL_IN, () => this.#leaderDied());
    if (plan.timeoutMs !== undefined) this.#after(plan.timeoutMs, () => this.terminate('timeout'));
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** What its request named it by, so that a repetition finds it. */
  get key(): string | undefined {
    return this.#plan.key;
  }

  /** How long it may take until `terminate` sends SIGKILL. */
  get killGraceMs(): number {
    return this.#state.at === 'running' ? this.#plan.killGraceMs : 0;
  }

  /** Ends the session: its kill signal, after its grace SIGKILL; a launch that hangs is cancelled. */
  terminate(reason: KillReason, graceMsMax = Number.POSITIVE_INFINITY): void {
    // A busy agent may not have heard yet that the command runs: then nothing hangs.
    if (this.#state.at === 'starting') this.#process.settle();
    if (this.#state.at === 'starting') {
      this.#kill ??= reason;
      this.#process.cancel();
      // What hangs in the kernel dies when the kernel lets go of it, if ever: nobody waits for that here.
      queueMicrotask(() => this.#cancelled(reason));
      return;
    }
    if (this.#state.at === 'draining') this.#control.killTree();
    if (this.#state.at !== 'running' || this.#kill !== undefined) return;
    this.#kill = reason;
    this.#control.killGroup(this.#plan.killSignal);
    this.#after(Math.min(this.#plan.killGraceMs, graceMsMax), () => this.#control.killTree());
  }

  /** Forgets an ended session that was kept: its output goes. */
  discard(): void {
    this.#kept = false;
    this.#forgetWhenOver();
  }

  // Hosts

  /**
   * One more host follows the session, from where it asks.
   *
   * @returns what it is told, before anything else is sent to it; then `begin` is to be called.
   */
  attach(
    attachment: Attachment,
    request: Pick<Payload<'Attach'>, 'stdin' | 'stdout' | 'stderr'>,
  ): Omit<Payload<'Attached'>, 're'> {
    this.#cancelDisconnect?.();
    const positionOf = (output: OutputSpool, from: number | 'start' | 'end' | undefined): number => {
      if (from === 'start') return output.start;
      return typeof from === 'number' ? Math.min(from, output.end) : output.end;
    };
    const kept = (output: OutputSpool, from: number): Payload<'Attached'>['stdout'] => ({
      from,
      start: output.start,
      end: output.end,
    });
    const stdout = positionOf(this.#stdout, request.stdout);
    const stderr = this.#stderr && positionOf(this.#stderr, request.stderr);
    const takesInput = request.stdin === true && this.#input !== undefined;
    const attached = {
      sessionId: this.id,
      pid: this.pid,
      startedAtUs: this.#startedAtUs,
      tty: this.#terminal !== undefined,
      stdout: kept(this.#stdout, stdout),
      stderr: this.#stderr && kept(this.#stderr, stderr ?? 0),
      stdinFrom: takesInput ? this.#input?.receivedBytes : undefined,
    };
    this.#follow(attachment, { stdout, stderr: stderr ?? 0 });
    return attached;
  }

  /** After `attach`: it becomes the writer where it asked for that, and is told how the session ended, if it has. */
  begin(attachment: Attachment, stdinFrom: number | undefined): void {
    if (stdinFrom !== undefined) this.#takeInput(attachment, stdinFrom);
    const state = this.#state;
    if (state.at === 'draining' || state.at === 'ended') {
      if (state.exit !== undefined) attachment.tell('Exited', this.#exitNow(state.exit));
      if (state.at === 'ended') this.consumed(attachment);
    }
  }

  /** A request with the key of this session came again: it gets everything from the beginning, as the first did. */
  repeat(attachment: Attachment): void {
    this.attach(attachment, { stdout: 0, stderr: 0 });
    const { at } = this.#state;
    if (at !== 'starting' && at !== 'hanging') {
      const { id, pid } = this;
      attachment.tell('ExecStarted', { sessionId: id, pid, startedAtUs: this.#startedAtUs, existing: true });
    }
    // Its bytes begin at 0; those that the first has sent are not taken again.
    this.begin(attachment, this.#input === undefined ? undefined : 0);
  }

  message(attachment: Attachment, message: Message): void {
    try {
      this.#answer(attachment, message);
    } catch (error) {
      if (!(error instanceof HawserError)) throw error; // a fault, which is answered as such
      const { code, message: text, errno, stage } = error;
      attachment.channel.send('Failure', { re: message.number, code, message: text, errno, stage });
    }
  }

  /** Its connection is over: with the last of them the session goes as it was to. */
  lost(attachment: Attachment): void {
    this.#stdout.disown();
    this.#stderr?.disown();
    this.#input?.disown();
    this.#attachments.delete(attachment);
    if (this.#attachments.size > 0) return;
    const { afterMs, action } = this.#plan.onDisconnect;
    const running = this.#state.at === 'starting' || this.#state.at === 'running';
    if (!running || action === 'keep') {
      if (this.#state.at === 'draining' && action !== 'keep' && !this.#kept) this.#control.killTree();
      this.#forgetWhenOver();
    } else if (afterMs === 0) {
      this.#disconnected();
    } else {
      this.#kept = true;
      this.#cancelDisconnect = this.#services.clock.after(afterMs, () => this.#disconnected());
    }
  }

  consumed(attachment: Attachment): void {
    if (this.#state.at !== 'ended' || !attachment.consumedAll) return;
    attachment.release();
    this.#attachments.delete(attachment);
    this.#forgetWhenOver();
  }

  #answer(attachment: Attachment, message: Message): void {
    const { channel } = attachment;
    switch (message.name) {
      case 'Signal':
        this.#signal(message.body);
        break;
      case 'Resize':
        this.#assertRunning();
        this.#control.resize(message.body);
        break;
      case 'Rlimits':
        this.#assertRunning();
        channel.send('RlimitsReply', {
          re: message.number,
          rlimits: this.#control.rlimits(message.body.set ?? []),
        });
        return;
      case 'Detach':
        this.#detach(attachment, message.number, message.body);
        return;
      default:
        if (isTreeRequest(message)) return this.#treeRequest(attachment, message);
        throw new HawserError('unsupported', `${message.name} is not for a running session`);
    }
    channel.send('Done', { re: message.number });
  }

  #treeRequest({ channel }: Attachment, message: TreeRequest): void {
    if (message.name === 'KillTree' && this.#state.at === 'starting') {
      this.terminate('request');
      channel.send('Done', { re: message.number });
      return;
    }
    answerTreeRequest(this.#tree.over ? undefined : this.#tree, message, (name, body) => {
      if (channel.connection.open) channel.send(name, body);
    });
  }

  /** When what the host has written is taken: it may be overtaken on its way. */
  #detach(attachment: Attachment, re: number, { stdinBytes = 0 }: Payload<'Detach'>): void {
    const detach = (): void => {
      if (!this.#attachments.has(attachment)) return; // its connection is over meanwhile
      attachment.channel.send('Done', { re });
      this.#kept = true;
      this.#drop(attachment);
      this.#forgetWhenOver();
    };
    if (this.#input === undefined) detach();
    else this.#input.whenReceived(attachment.channel, stdinBytes, detach);
  }

  #signal({ signal, target }: Payload<'Signal'>): void {
    const number = signalNumber(signal);
    if (this.#state.at === 'starting' && number === SIGKILL) {
      this.terminate('request');
      return;
    }
    this.#assertRunning();
    this.#control.signal(number, target);
  }

  #assertRunning(): void {
    if (this.#state.at === 'running') return;
    if (this.#state.at === 'starting')
      throw new HawserError('invalid_argument', `session ${this.id} is still starting`);
    throw new HawserError('session_ended', `session ${this.id} has ended`);
  }

  #follow(attachment: Attachment, from: { stdout: number; stderr: number }): void {
    this.#attachments.add(attachment);
    attachment.follow(this);
    this.#stdout.addReader(attachment, 'Stdout', from.stdout);
    this.#stderr?.addReader(attachment, 'Stderr', from.stderr);
  }

  #takeInput(attachment: Attachment, from: number): void {
    const input = this.#input as InputPump;
    for (const other of this.#attachments) {
      if (other !== attachment && input.isWriter(other.channel))
        other.tell('StdinTaken', { bytes: input.receivedBytes });
    }
    input.openWriter(attachment.channel, from);
  }

  #drop(attachment: Attachment): void {
    this.#attachments.delete(attachment);
    attachment.release();
  }

  /** Nobody reads it any more: it ends. One with a key is kept all the same, so that it is not run again. */
  #disconnected(): void {
    this.#kept = this.#plan.kept;
    if (this.#plan.onDisconnect.action === 'kill') this.#control.killTree();
    this.terminate('disconnect');
    // Whoever writes to it gets SIGPIPE, a terminal's programs SIGHUP.
    if (!this.#kept) this.#closeEnds();
    this.#forgetWhenOver();
  }

  // What the process does

  #launched(failure: LaunchFailure | null): void {
    if (this.#state.at !== 'starting') return; // it was given up before
    if (failure !== null) return this.#failed(failure);
    if (this.#kill !== undefined) return this.#failed(cancelled(this.#kill));
    const startedAtUs = Date.now() * 1000;
    this.#startedAtUs = startedAtUs;
    this.#state = { at: 'running', startedAtUs, startedAt: process.hrtime.bigint() };
    for (const attachment of this.#attachments) {
      if (attachment.awaitsStart)
        attachment.tell('ExecStarted', { sessionId: this.id, pid: this.pid, startedAtUs });
    }
    this.#openOutputs();
  }

  /** Its process keeps the session's place until it is gone: launches that hang are bounded, too. */
  #cancelled(reason: KillReason): void {
    if (this.#state.at !== 'starting') return;
    this.#state = { at: 'hanging' };
    this.#tellFailure(cancelled(reason));
  }

  #failed(failure: LaunchFailure): void {
    this.#state = { at: 'ended', exit: undefined };
    this.#services.stoppedRunning();
    this.#tellFailure(failure);
  }

  #tellFailure({ code, message, stage, errno }: LaunchFailure): void {
    this.#cancelTimer?.();
    this.#kept = false;
    for (const attachment of this.#attachments) {
      attachment.tell('ExecFailed', { code, message, stage, errno: errno === '' ? undefined : errno });
      this.#drop(attachment);
    }
    this.#closeEnds();
    this.#forgetWhenOver();
    // The child is dead or dying: its pidfd says when it can be reaped.
  }

  #leaderDied(): void {
    // A dead child's launch is decided, whichever event came first.
    this.#process.settle();
    // Before its pid may be another process's.
    const after = this.#tree.leaderDied();
    const result = reapPidfd(this.#process.pidfd);
    if (result === null) return;
    // What was to be ended goes with its leader, all of it.
    if (this.#kill !== undefined) this.#control.killTree();
    this.#cancelTimer?.();
    this.#exitWatch.close();
    if (this.#state.at === 'running') this.#exited(result, after, this.#state);
    if (this.#state.at === 'hanging') {
      this.#state = { at: 'ended', exit: undefined };
      this.#services.stoppedRunning();
      this.#forgetWhenOver();
    }
    this.#services.leaderReaped(this);
  }

  #exited(
    { status, usage }: WaitResult,
    { survivors, oomKilled }: AfterLeader,
    started: { startedAtUs: number; startedAt: bigint },
  ): void {
    for (const pump of this.#pumps) pump.drain();
    this.#input?.stop();
    const complete = this.#pumps.every((pump) => pump.ended);
    // Field by field: spreads here take 30 us.
    const exit: ExitRecord = {
      code: 'code' in status ? status.code : undefined,
      signal: 'signal' in status ? status.signal : undefined,
      coreDumped: 'signal' in status && status.coreDumped,
      oomKilled,
      timedOut: this.#kill === 'timeout',
      killedBy:
        this.#kill ?? ('signal' in status && this.#control.hasSent(status.signal) ? 'request' : undefined),
      rusage: usage,
      startedAtUs: started.startedAtUs,
      durationUs: Number((process.hrtime.bigint() - started.startedAt) / 1000n),
      stdout: this.#stdout.count,
      stderr: this.#stderr?.count ?? { bytes: 0, dropped: 0 },
      outputComplete: complete,
      survivors,
    };
    this.#state = { at: complete ? 'ended' : 'draining', exit };
    this.#services.stoppedRunning();
    this.#releaseEnds();
    for (const attachment of this.#attachments) attachment.tell('Exited', exit);
    // What the host waits for leaves first.
    setImmediate(() => (complete ? this.#over() : this.#leaderGone()));
  }

  /** Descendants hold its output still: for whoever reads it, or to no purpose. */
  #leaderGone(): void {
    this.#closeStdin();
    this.#forgetWhenOver();
  }

  #outputEnded(output: OutputSpool): void {
    // A process that dies closes its outputs one by one, and then is dead: told apart, that wakes the host three times.
    if (this.#state.at === 'running') {
      this.#heldEnds.push(output);
      this.#cancelHold ??= this.#services.clock.after(endHoldMs, () => this.#releaseEnds());
      return;
    }
    output.finish();
    const state = this.#state;
    if (state.at !== 'draining' || !this.#pumps.every((pump) => pump.ended)) return;
    this.#state = { at: 'ended', exit: state.exit };
    for (const attachment of this.#attachments) attachment.tell('Closed', this.#counts());
    this.#over();
  }

  #releaseEnds(): void {
    this.#cancelHold?.();
    this.#cancelHold = undefined;
    for (const output of this.#heldEnds.splice(0)) output.finish();
  }

  #over(): void {
    this.#closeEnds();
    for (const attachment of this.#attachments) this.consumed(attachment);
    this.#forgetWhenOver();
  }

  /** Once nobody is attached to what has ended, or to what descendants still write, it is nobody's any more. */
  #forgetWhenOver(): void {
    const { at } = this.#state;
    if (this.#forgotten || this.#attachments.size > 0 || (at !== 'ended' && at !== 'draining')) return;
    if (this.#kept) {
      if (at === 'ended') this.#services.kept(this);
      return;
    }
    this.#forgotten = true;
    this.#cancelDisconnect?.();
    this.#closeEnds();
    this.#stdout.close();
    this.#stderr?.close();
    this.#services.over(this);
  }

  /** For whoever comes after the exit: descendants may have written more since. */
  #exitNow(exit: ExitRecord): ExitRecord {
    return this.#state.at === 'ended' ? { ...exit, ...this.#counts(), outputComplete: true } : exit;
  }

  #counts(): Pick<ExitRecord, 'stdout' | 'stderr'> {
    return { stdout: this.#stdout.count, stderr: this.#stderr?.count ?? { bytes: 0, dropped: 0 } };
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
    const open = (fd: number, output: OutputSpool): void => {
      this.#pumps.push(new OutputPump(poller, { fd, owned }, output, () => this.#outputEnded(output)));
    };
    open(this.#terminal?.masterFd ?? this.#process.stdoutFd, this.#stdout);
    if (this.#stderr !== undefined) open(this.#process.stderrFd, this.#stderr);
  }

  #openInput(connection: Connection): InputPump {
    const { poller, limits, budget } = this.#services;
    return new InputPump({
      poller,
      fd: this.#terminal?.inputFd ?? this.#process.stdinFd,
      spool: connection.newSpool(limits.windowBytes),
      budget,
      windowBytesMax: limits.windowBytes,
      // A pipe ends by being closed, a terminal that reads lines by a character.
      endMark: (lastByte) => this.#terminal?.endOfFile(lastByte) ?? new Uint8Array(),
      onEnd: () => this.#closeStdin(),
      onBroken: (bytes, errno) => this.#inputBroken(bytes, errno),
    });
  }

  #inputBroken(bytes: number, errno: string): void {
    for (const attachment of this.#attachments) {
      if (this.#input?.isWriter(attachment.channel)) attachment.tell('StdinClosed', { bytes, errno });
    }
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
    for (const pump of this.#pumps) pump.close();
    if (this.#terminal !== undefined) this.#terminal.close();
    else if (this.#pumps.length === 0)
      for (const fd of [this.#process.stdoutFd, this.#process.stderrFd]) native.close(fd);
  }
}

function outputSpool(connection: Connection, limits: Limits, { retention }: ExecPlan): Spool {
  return connection.newSpool(Math.max(limits.spoolBytesMax, retention.historyBytes));
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
