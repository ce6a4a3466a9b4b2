import type { Connection, ExitRecord, Message, Payload, SessionRecord } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import * as native from '../ffi/native.js';
import type { AfterLeader, ProcessTree } from '../processes/containment/process-tree.js';
import type { WaitResult } from '../processes/exit-status.js';
import { reapPidfd } from '../processes/exit-status.js';
import type { LaunchedProcess, LaunchFailure } from '../processes/launcher.js';
import type { Watch } from '../processes/poller.js';
import { POLL_IN } from '../processes/poller.js';
import type { PseudoTerminal } from '../processes/pseudo-terminal.js';
import { signalNumber } from '../processes/signals.js';
import type { Attachment, AttachmentHandler } from './attachment.js';
import type { ExecPlan } from './exec-plan.js';
import { InputPump } from './input-pump.js';
import { OutputPump } from './output-pump.js';
import { OutputSpool } from './output-spool.js';
import { SessionControl } from './session-control.js';
import { SessionOutputs } from './session-outputs.js';
import { sessionRecord, stateName } from './session-record.js';
import type { SessionServices } from './session-services.js';
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
  | { at: 'running'; startedAtUs: number; startedAtMs: number }
  | { at: 'draining'; exit: ExitRecord }
  | { at: 'ended'; exit: ExitRecord | undefined };

const SIGKILL = 9;

/** How long an output's end waits for its leader's, which is most often the same moment, ms. */
const endHoldMs = 5;

/** One command: its process, its output, and the hosts that are attached to it. */
export class ExecSession implements AttachmentHandler {
  readonly id: string;
  /** Counts the agent's sessions: a pid may come twice, the two together do not. */
  readonly generation: number;
  readonly #services: SessionServices;
  readonly #plan: ExecPlan;
  readonly #terminal: PseudoTerminal | undefined;
  readonly #tree: ProcessTree;
  readonly #process: LaunchedProcess;
  readonly #control: SessionControl;
  readonly #exitWatch: Watch;
  readonly #attachments = new Set<Attachment>();
  readonly #outputs: SessionOutputs;
  readonly #pumps: OutputPump[] = [];
  /** Outputs that ended while the leader lives, which no host was told. */
  readonly #heldEnds: OutputSpool[] = [];
  #leaderDead = false;
  #cancelHold: (() => void) | undefined;
  readonly #input: InputPump | undefined;
  #state: SessionState = { at: 'starting' };
  #startedAtUs = 0;
  /** 0 while it lasts. */
  #endedAtUs = 0;
  /** A host has left it to itself, or asked for that: it is there for whoever comes. */
  #kept: boolean;
  /** Why it is being ended; nothing else ends it then. */
  #kill: KillReason | undefined;
  #cancelTimer: (() => void) | undefined;
  #cancelDisconnect: (() => void) | undefined;
  #stdinFd = -1;
  #closed = false;
  #forgotten = false;
  /** Nobody is to know of it any more. */
  #discarded = false;

  /** @throws HawserError when there is no process; nothing is left behind. */
  constructor(
    services: SessionServices,
    name: { readonly id: string; readonly generation: number },
    first: Attachment,
    plan: ExecPlan,
  ) {
    this.id = name.id;
    this.generation = name.generation;
    this.#services = services;
    this.#plan = plan;
    this.#kept = plan.kept;
    this.#tree = services.containment.prepare(name.id, plan.cgroup, plan.survives);
    try {
      this.#terminal = plan.terminal === undefined ? undefined : services.terminals.open(plan.terminal);
      if (this.#terminal !== undefined)
        plan.launch.stdio = { kind: 'terminal', stdin: plan.stdin, slavePath: this.#terminal.slavePath };
      this.#tree.contain(plan.launch);
      this.#process = services.launcher.launch(plan.launch, (failure) => this.#launched(failure));
    } catch (error) {
      this.#terminal?.close();
      this.#tree.abandon();
      throw error;
    }
    this.#tree.assign(this.#process.pid);
    this.#control = new SessionControl(this.#process, this.#terminal, this.#tree);
    this.#stdinFd = this.#process.stdinFd;
    this.#outputs = this.#newOutputs(first.channel.connection);
    this.#input = plan.stdin === 'pipe' ? this.#openInput(first.channel.connection) : undefined;
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

  get labels(): Readonly<Record<string, string>> {
    return this.#plan.description.labels;
  }

  /** Its processes go on without the agent. */
  get survives(): boolean {
    return this.#plan.survives;
  }

  get state(): SessionRecord['state'] {
    const state = this.#state;
    return 'exit' in state ? stateName(state.exit) : state.at === 'running' ? 'running' : 'starting';
  }

  /** Nothing holds its output any more. */
  get ended(): boolean {
    return this.#state.at === 'ended';
  }

  /** What is known of it now. */
  get record(): SessionRecord {
    const exit = this.#exit;
    const { retained } = this.#outputs;
    return sessionRecord(this.#plan, {
      id: this.id,
      generation: this.generation,
      pid: this.pid,
      state: this.state,
      startedAtUs: this.#startedAtUs,
      endedAtUs: exit === undefined ? undefined : this.#endedAtUs,
      exit,
      hosts: this.#hosts,
      stdinBytes: this.#input?.receivedBytes ?? 0,
      stdout: retained.stdout,
      stderr: retained.stderr,
    });
  }

  /** What stays known of it when it is over: nothing, where it never ran or was not to be known any more. */
  get lastRecord(): SessionRecord | undefined {
    return this.#discarded || this.#exit === undefined ? undefined : this.record;
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

  /** An ended session is not to be known any more: its output goes as soon as no host is attached. */
  discard(): void {
    this.#kept = false;
    this.#discarded = true;
    this.#forgetWhenOver();
  }

  // Hosts

  /** @throws HawserError `limit_exceeded` for one that wants to write, while too much waits to be read. */
  assertAttachable({ stdin }: Pick<Payload<'Attach'>, 'stdin'>): void {
    if (stdin === true) this.#input?.assertRoomForWriter();
  }

  /**
   * One more host follows the session, from where it asks.
   *
   * @returns what it is told, before anything else is sent to it; then `begin` is to be called.
   */
  attach(
    attachment: Attachment,
    request: Pick<Payload<'Attach'>, 'stdin' | 'stdout' | 'stderr' | 'follow'>,
  ): Omit<Payload<'Attached'>, 're'> {
    if (!attachment.observes) this.#cancelDisconnect?.();
    const takesInput = request.stdin === true && this.#input !== undefined;
    return {
      sessionId: this.id,
      pid: this.pid,
      startedAtUs: this.#startedAtUs,
      tty: this.#terminal !== undefined,
      stdinFrom: takesInput ? this.#input?.receivedBytes : undefined,
      ...this.#follow(attachment, request),
    };
  }

  /** After `attach`: it becomes the writer where it asked for that, and is told how the session ended, if it has. */
  begin(attachment: Attachment, stdinFrom: number | undefined): void {
    if (stdinFrom !== undefined) this.#takeInput(attachment, stdinFrom);
    const exit = this.#exit;
    if (exit !== undefined) attachment.tell('Exited', exit);
    if (this.#state.at === 'ended') this.consumed(attachment);
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
    this.#outputs.disown();
    this.#input?.disown();
    this.#attachments.delete(attachment);
    if (attachment.observes) {
      this.#forgetWhenOver();
      return;
    }
    if (this.#hosts > 0) return;
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
    // An observer may have come for a part only, which ends before the session does.
    if ((this.#state.at !== 'ended' && !attachment.observes) || !attachment.consumedAll) return;
    this.#drop(attachment);
    this.#forgetWhenOver();
  }

  #answer(attachment: Attachment, message: Message): void {
    const { channel } = attachment;
    switch (message.name) {
      case 'Signal':
        this.signal(message.body);
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
  #detach(attachment: Attachment, re: number, { stdinBytes, stdinEnded }: Payload<'Detach'>): void {
    const detach = (): void => {
      if (!this.#attachments.has(attachment)) return; // its connection is over meanwhile
      attachment.channel.send('Done', { re });
      if (!attachment.observes) this.#kept = true;
      this.#drop(attachment);
      this.#forgetWhenOver();
    };
    if (this.#input === undefined) detach();
    else {
      const position = { bytes: stdinBytes ?? 0, ended: stdinEnded ?? false };
      this.#input.whenReceived(attachment.channel, position, detach);
    }
  }

  /** @throws HawserError `unknown_signal`, `session_ended`, `not_a_terminal`, `system_call_failed`. */
  signal({ signal, target }: Pick<Payload<'Signal'>, 'signal' | 'target'>): void {
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

  #follow(
    attachment: Attachment,
    request: Pick<Payload<'Attach'>, 'stdout' | 'stderr' | 'follow'>,
  ): Pick<Payload<'Attached'>, 'stdout' | 'stderr'> {
    this.#attachments.add(attachment);
    attachment.follow(this);
    return this.#outputs.follow(attachment, request);
  }

  #takeInput(attachment: Attachment, from: number): void {
    const input = this.#input as InputPump;
    for (const other of this.#attachments) {
      if (other !== attachment && input.isWriter(other.channel))
        other.tell('StdinTaken', { bytes: input.receivedBytes });
    }
    input.openWriter(attachment.channel, from);
    // One that repeats a request sends what the first has sent, the end too.
    if (attachment.role === 'follower' && !input.takesMore)
      attachment.tell('StdinClosed', { bytes: input.receivedBytes, errno: 'EPIPE' });
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
    if (!this.#kept) {
      this.#closeEnds();
      this.#outputs.finish();
    }
    this.#forgetWhenOver();
  }

  // What the process does

  #launched(failure: LaunchFailure | null): void {
    if (this.#state.at !== 'starting') return; // it was given up before
    if (failure !== null) return this.#failed(failure);
    if (this.#kill !== undefined) return this.#failed(cancelled(this.#kill));
    const startedAtUs = Date.now() * 1000;
    this.#startedAtUs = startedAtUs;
    this.#state = { at: 'running', startedAtUs, startedAtMs: this.#services.clock.now() };
    for (const attachment of this.#attachments) {
      if (attachment.role === 'starter')
        attachment.tell('ExecStarted', { sessionId: this.id, pid: this.pid, startedAtUs });
    }
    this.#openOutputs();
    // Of many commands at once most are dead by now: what they wrote is read at their end, and no poller is asked.
    if (!this.#leaderDead) this.#readOutputs();
    // While the command runs, the agent has nothing to do, and makes what the next one needs.
    setImmediate(() => {
      this.#services.launcher.prepare();
      if (this.#terminal !== undefined) this.#services.terminals.prepare();
    });
  }

  /** Its process keeps the session's place until it is gone: launches that hang are bounded, too. */
  #cancelled(reason: KillReason): void {
    if (this.#state.at !== 'starting') return;
    this.#state = { at: 'hanging' };
    this.#tellFailure(cancelled(reason));
  }

  #failed(failure: LaunchFailure): void {
    this.#state = { at: 'ended', exit: undefined };
    this.#services.stoppedRunning(this);
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
    this.#leaderDead = true;
    // A dead child's launch is decided, whichever event came first.
    this.#process.settle();
    // Before its pid may be another process's.
    const after = this.#tree.leaderDied();
    const result = reapPidfd(this.#process.pidfd);
    if (result === null) {
      // Somebody traces it, and waits for it first (ptrace(2)).
      this.#leaderDead = false;
      this.#readOutputs();
      return;
    }
    // What was to be ended goes with its leader, all of it.
    if (this.#kill !== undefined) this.#control.killTree();
    this.#cancelTimer?.();
    if (this.#state.at === 'running') this.#exited(result, after, this.#state);
    this.#exitWatch.close();
    if (this.#state.at === 'hanging') {
      this.#state = { at: 'ended', exit: undefined };
      this.#services.stoppedRunning(this);
      this.#forgetWhenOver();
    }
    this.#services.leaderReaped(this);
  }

  #exited(
    { status, usage }: WaitResult,
    { survivors, oomKilled }: AfterLeader,
    started: { startedAtUs: number; startedAtMs: number },
  ): void {
    for (const pump of this.#pumps) pump.drain();
    this.#input?.stop();
    const complete = this.#pumps.every((pump) => pump.ended);
    if (!complete) this.#readOutputs();
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
      durationUs: Math.floor((this.#services.clock.now() - started.startedAtMs) * 1000),
      stdout: this.#outputs.stdout.count,
      stderr: this.#outputs.stderr?.count ?? { bytes: 0, dropped: 0 },
      outputComplete: complete,
      survivors,
    };
    this.#endedAtUs = exit.startedAtUs + exit.durationUs;
    this.#state = { at: complete ? 'ended' : 'draining', exit };
    this.#services.stoppedRunning(this);
    this.#releaseEnds();
    for (const attachment of this.#attachments) attachment.tell('Exited', exit);
    // What the host waits for leaves first.
    for (const attachment of this.#attachments) attachment.flush();
    // Where it is on this machine, it may wait for this very processor; where more runs, that would have it instead.
    if (this.#services.running() === 0) native.yieldProcessor();
    for (const pump of this.#pumps) if (pump.ended) pump.close();
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
      if (!this.#leaderDead)
        this.#cancelHold ??= this.#services.clock.after(endHoldMs, () => this.#releaseEnds());
      return;
    }
    output.finish();
    const state = this.#state;
    if (state.at !== 'draining' || !this.#pumps.every((pump) => pump.ended)) return;
    this.#outputsOver(state.exit);
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

  /** Hosts that are attached, those not counted for whom nothing waits. */
  get #hosts(): number {
    let hosts = 0;
    for (const { observes } of this.#attachments) if (!observes) hosts++;
    return hosts;
  }

  /** How it ended, for whoever asks after that. */
  get #exit(): ExitRecord | undefined {
    return 'exit' in this.#state ? this.#state.exit : undefined;
  }

  /** Once no host is attached to what has ended, or to what descendants still write, it is nobody's any more. */
  #forgetWhenOver(): void {
    const { at } = this.#state;
    if (this.#forgotten || this.#hosts > 0 || (at !== 'ended' && at !== 'draining')) return;
    if (!this.#kept && this.#state.at === 'draining') this.#giveUpOutputs(this.#state.exit);
    // Observers may have the rest, for as long as ended sessions are kept.
    if (!this.#kept && (this.#attachments.size === 0 || this.#discarded)) this.#forget();
    else if (this.#state.at === 'ended') this.#services.kept(this);
  }

  /** Descendants write to no purpose from now on. */
  #giveUpOutputs(exit: ExitRecord): void {
    this.#closeEnds();
    this.#outputs.finish();
    this.#outputsOver(exit);
  }

  /** Descendants may have written more since the leader's exit. */
  #outputsOver(exit: ExitRecord): void {
    const { counts } = this.#outputs;
    this.#state = { at: 'ended', exit: { ...exit, ...counts, outputComplete: true } };
    for (const attachment of this.#attachments) attachment.tell('Closed', counts);
  }

  #forget(): void {
    this.#forgotten = true;
    this.#cancelDisconnect?.();
    this.#closeEnds();
    this.#outputs.close();
    // At once: a request with its key, which may have come already, must not find it.
    this.#services.over(this);
  }

  #after(ms: number, callback: () => void): void {
    this.#cancelTimer?.();
    this.#cancelTimer = this.#services.clock.after(ms, callback);
  }

  // Descriptors

  #openOutputs(): void {
    const { poller } = this.#services;
    const owned = this.#terminal === undefined;
    const open = (fd: number, output: OutputSpool): void => {
      this.#pumps.push(new OutputPump(poller, { fd, owned }, output, () => this.#outputEnded(output)));
    };
    open(this.#terminal?.masterFd ?? this.#process.stdoutFd, this.#outputs.stdout);
    if (this.#outputs.stderr !== undefined) open(this.#process.stderrFd, this.#outputs.stderr);
  }

  #readOutputs(): void {
    for (const pump of this.#pumps) pump.start();
  }

  #newOutputs(connection: Connection): SessionOutputs {
    const { retention } = this.#plan;
    const bytesMax = Math.max(this.#services.limits.spoolBytesMax, retention.historyBytes);
    const output = (at: 0 | 1): OutputSpool =>
      new OutputSpool(connection.newSpool(bytesMax), retention, () => this.#pumps[at]?.resume());
    return new SessionOutputs(output(0), this.#terminal === undefined ? output(1) : undefined);
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

function cancelled(reason: KillReason): LaunchFailure {
  const timedOut = reason === 'timeout';
  return {
    code: timedOut ? 'timed_out' : 'cancelled',
    message: timedOut ? 'the launch hung in the kernel and ran out of time' : 'the launch was cancelled',
    stage: 'exec',
    errno: '',
  };
}
