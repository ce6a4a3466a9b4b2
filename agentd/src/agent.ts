import { readFileSync } from 'node:fs';
import { arch, hostname, release } from 'node:os';
import type { Connection, ErrorCode, Limits, Message } from '@hawser/protocol';
import { defaultLimits, HawserError, MessageCodec, SpoolBudget, systemClock } from '@hawser/protocol';
import { AgentLine } from './agent-line.js';
import type { Config } from './config.js';
import type { Faults } from './faults.js';
import { asHawserError } from './faults.js';
import { systemCallError } from './ffi/errno.js';
import * as native from './ffi/native.js';
import { addEntropy, setClock } from './ffi/restore.js';
import type { Clocks } from './guest/wall-clock.js';
import { WallClock } from './guest/wall-clock.js';
import { Hosts } from './hosts.js';
import type { Log } from './log.js';
import { pause } from './pause.js';
import { Containment } from './processes/containment/containment.js';
import { Launcher } from './processes/launcher.js';
import { OrphanReaper } from './processes/orphan-reaper.js';
import { Poller } from './processes/poller.js';
import { Terminals } from './processes/pseudo-terminal.js';
import { Users } from './processes/users.js';
import { Registry } from './registry/registry.js';
import { isRegistryRequest, RegistryRequests } from './registry/registry-requests.js';
import { ExecPlanContext } from './sessions/exec-plan.js';
import { answerTreeRequest, isTreeRequest } from './sessions/tree-requests.js';
import { RetryInterval } from './transports/retry-interval.js';
import type { Transport } from './transports/transport.js';
import { openTransport } from './transports/transport.js';
import { agentVersion } from './version.js';

/** What this build can do beyond running commands, as `Welcome` lists it. */
const features = [
  'exec',
  'terminal',
  'rlimits',
  'info',
  'resume',
  'attach',
  'entropy',
  'trees',
  'registry',
] as const;

/** How long the exits of a shutdown may take to leave, for a host that does not read. */
const flushMsMax = 2_000;

/** How long a killed process may take to die at a shutdown. */
const unkillableMs = 1_000;
/** Who can end the guest, where the agent is its first process. */
export interface MachinePower {
  /**
   * Ends the sessions, all processes and the machine. Returns at once; only the first call counts.
   *
   * @param graceMs what a session's own grace is cut to
   */
  shutDown(mode: 'poweroff' | 'reboot' | 'halt', graceMs: number | undefined): void;
}

/** A line that could not be opened is tried again after so long, ms; where the agent must not end. */
const reopenMs = { first: 100, longest: 2_000 };

/** The guest's end: serves every line that it was configured with. */
export class Agent {
  readonly #config: Config;
  readonly #log: Log;
  readonly #faults: Faults;
  readonly #limits: Limits;
  readonly #budget: SpoolBudget;
  readonly #codec: MessageCodec;
  readonly #bootId = newBootId();
  readonly #poller: Poller;
  readonly #launcher: Launcher;
  readonly #containment: Containment;
  readonly #terminals = new Terminals();
  readonly #registry: Registry;
  readonly #registryRequests: RegistryRequests;
  readonly #hosts: Hosts;
  readonly #wallClock: WallClock;
  #cancelLook: (() => void) | undefined;
  readonly #reaper: OrphanReaper;
  readonly #transports: Transport[] = [];
  readonly #lines = new Set<AgentLine>();
  readonly #startedAt = systemClock.now();
  readonly #power: MachinePower | undefined;
  #cancelReopening: (() => void)[] = [];
  #onIdle: (() => void) | undefined;

  /** With `power` the agent is a guest's first process: a line that does not open is no reason to end. */
  constructor(config: Config, log: Log, faults: Faults, power?: MachinePower) {
    this.#config = config;
    this.#log = log;
    this.#faults = faults;
    this.#power = power;
    this.#limits = {
      ...defaultLimits,
      windowBytes: config.windowBytes,
      spoolBytesMax: config.spoolBytesMax,
      spoolBudgetBytes: config.spoolBudgetBytes,
      heartbeatIntervalMs: config.heartbeatIntervalMs,
      heartbeatTimeoutMs: config.heartbeatTimeoutMs,
      resumeGraceMs: config.resumeGraceMs,
      keptSessionsMax: config.keptSessionsMax,
      keptSessionMs: config.keptSessionMs,
    };
    this.#budget = new SpoolBudget(config.spoolBudgetBytes);
    this.#codec = new MessageCodec(this.#limits);
    this.#poller = Poller.open();
    this.#launcher = new Launcher(this.#poller);
    this.#containment = new Containment({
      poller: this.#poller,
      launcher: this.#launcher,
      bootId: this.#bootId,
      mode: config.containment,
      cgroupParent: config.cgroupParent,
      onAdopting: () => {
        if (config.reapOrphans !== false) this.#reaper.start();
      },
      warn: (fields, message) => log.warn(fields, message),
    });
    this.#registry = new Registry({
      services: {
        poller: this.#poller,
        launcher: this.#launcher,
        containment: this.#containment,
        terminals: this.#terminals,
        limits: this.#limits,
        clock: systemClock,
        budget: this.#budget,
      },
      context: new ExecPlanContext(new Users(), ownEnvironment(), process.getuid?.() ?? 0),
      sessionsMax: config.sessionsMax,
      bootId: this.#bootId,
    });
    this.#registryRequests = new RegistryRequests(this.#registry, this.#containment, systemClock);
    this.#hosts = new Hosts({
      limits: this.#limits,
      codec: this.#codec,
      clock: systemClock,
      budget: this.#budget,
      log,
      faults,
      request: (connection, channel, message) => this.#request(connection, channel, message),
    });
    this.#wallClock = new WallClock({
      clocks: systemClocks,
      thresholdMs: config.clockThresholdMs,
      maySet: config.setClock ?? process.pid === 1,
      jumped: (byMs) => this.#timeJumped(byMs),
      corrected: (byMs) => log.info({ byMs }, 'the clock was set to the host’s'),
      refused: (error) => log.warn({ reason: String(error) }, 'the clock is wrong and cannot be set'),
    });
    this.#reaper = new OrphanReaper(
      (pid) => this.#registry.isLeader(pid) || this.#containment.owns(pid),
      () => this.#containment.orphanReaped(),
    );
  }

  /**
   * Opens every transport.
   *
   * @param onUseless called when the last line is gone for good: only `stdio:` can be.
   * @throws HawserError `line_open_failed`, `invalid_config`; the agent is closed then.
   */
  async start(onUseless: () => void): Promise<void> {
    if (this.#config.reapOrphans ?? process.pid === 1) {
      if (process.pid !== 1) native.becomeSubreaper();
      this.#reaper.start();
    }
    native.shortenSlices(); // where that is not to be had, it is slower for it
    this.#lookAtTheTime();
    try {
      this.#containment.start();
      for (const spec of this.#config.listen) await this.#listen(spec, onUseless);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  async #listen(spec: string, onUseless: () => void): Promise<void> {
    const options = { poller: this.#poller, vsockAllowLoopback: this.#config.vsockAllowLoopback };
    const transport = openTransport(spec, options);
    const trouble = (error: unknown): void => {
      const { code, message } = asHawserError(error, 'opening a line');
      if (code === 'internal') this.#faults.report(error, spec);
      this.#log.warn({ transport: spec, code, reason: message }, 'trouble on a transport');
    };
    const open = async (): Promise<void> => {
      await transport.start(
        (line) => this.#opened(new AgentLine(line, this.#lineOptions(onUseless))),
        trouble,
      );
      this.#log.info({ transport: transport.name }, 'listening');
    };
    this.#transports.push(transport);
    try {
      await open();
    } catch (error) {
      if (!this.#mayComeLater(error)) throw error;
      trouble(error);
      this.#openLater(open, new RetryInterval(reopenMs.first, reopenMs.longest));
    }
  }

  /** Told once; then it is tried until it opens. */
  #openLater(open: () => Promise<void>, interval: RetryInterval): void {
    const cancel = systemClock.after(interval.next(), () => {
      this.#cancelReopening = this.#cancelReopening.filter((each) => each !== cancel);
      open().catch((error: unknown) => {
        if (!this.#mayComeLater(error)) throw error;
        this.#openLater(open, interval);
      });
    });
    this.#cancelReopening.push(cancel);
  }

  /** Whatever is wrong with one line, a guest's first process has others, and this one may be mended. */
  #mayComeLater(error: unknown): boolean {
    return this.#power !== undefined && asHawserError(error, 'opening a line').code !== 'invalid_config';
  }

  /**
   * Ends in order: no new lines, sessions get their kill signal and then KILL, their exits leave, then the lines close.
   *
   * @param graceMsMax what each session's own grace is cut to
   */
  async shutdown(graceMsMax?: number): Promise<void> {
    this.#stopReopening();
    for (const transport of this.#transports) transport.stop();
    await this.#registry.terminateAll('shutdown', graceMsMax);
    await Promise.race([this.#containment.killAll((id) => this.#registry.survives(id)), pause(unkillableMs)]);
    const closed = new Promise<void>((resolve) => (this.#onIdle = resolve));
    const reason = new HawserError('connection_closed', 'the agent is shutting down');
    for (const line of this.#lines) line.close(reason);
    this.#hosts.endAway(reason);
    if (this.#lines.size > 0) await Promise.race([closed, pause(flushMsMax)]);
    this.close();
  }

  /** Ends at once. */
  close(): void {
    this.#stopReopening();
    this.#reaper.stop();
    this.#cancelLook?.();
    this.#containment.close();
    this.#terminals.close();
    for (const transport of this.#transports) transport.close();
    this.#poller.close();
  }

  #stopReopening(): void {
    for (const cancel of this.#cancelReopening) cancel();
    this.#cancelReopening = [];
  }

  #lineOptions(onUseless: () => void): ConstructorParameters<typeof AgentLine>[1] {
    const wallClock = this.#wallClock;
    return {
      identity: {
        agentVersion,
        bootId: this.#bootId,
        get bootEpoch() {
          return wallClock.epoch;
        },
        features: this.#power === undefined ? features : [...features, 'shutdown'],
        sessionsMax: this.#config.sessionsMax,
      },
      limits: this.#limits,
      codec: this.#codec,
      clock: systemClock,
      token: this.#config.token,
      log: this.#log,
      faults: this.#faults,
      hosts: this.#hosts,
      heardTime: (wallClockUs) => this.#wallClock.heard(wallClockUs),
      closed: (line) => {
        this.#lines.delete(line);
        if (this.#lines.size === 0) this.#onIdle?.();
        if (line.kind === 'stdio' && this.#config.listen.length === 1) onUseless();
      },
    };
  }

  #lookAtTheTime(): void {
    this.#cancelLook = systemClock.after(this.#limits.heartbeatIntervalMs, () => {
      this.#wallClock.look();
      // Hosts that have no line have no heartbeat either.
      this.#budget.settle(systemClock.now());
      this.#lookAtTheTime();
    });
  }

  /** The VM was restored, or stopped for long: lines that look open may lead nowhere. Their hosts are asked for a sign. */
  #timeJumped(byMs: number): void {
    this.#log.warn({ byMs, bootEpoch: this.#wallClock.epoch }, 'time jumped');
    this.#hosts.askAll();
  }

  #opened(line: AgentLine): void {
    this.#lines.add(line);
    line.start();
  }

  /** @throws HawserError a refusal, which `Faults` has the host told. */
  #request(connection: Connection, channel: number, message: Message): void {
    if (isTreeRequest(message)) {
      const { sessionId } = message.body;
      const tree = sessionId === undefined ? undefined : this.#containment.find(sessionId);
      answerTreeRequest(tree, message, (name, body) => {
        if (connection.open) connection.send(channel, name, body);
      });
      return;
    }
    if (isRegistryRequest(message)) {
      this.#registryRequests.answer(connection, channel, message);
      return;
    }
    const refuse = (code: ErrorCode, text: string): void => {
      connection.send(channel, 'Failure', { re: message.number, code, message: text });
    };
    switch (message.name) {
      case 'ExecRequest':
        if (channel !== 0) this.#registry.exec(connection, channel, message);
        else refuse('invalid_argument', 'channel 0 is the connection itself, no session');
        return;
      case 'Attach':
        if (channel !== 0) this.#registry.attach(connection, channel, message);
        else refuse('invalid_argument', 'channel 0 is the connection itself, no session');
        return;
      case 'AddEntropy': {
        const { bytes } = message.body;
        const result = addEntropy(bytes, bytes.length);
        if (result < 0) refuse('system_call_failed', systemCallError('ioctl', result, '/dev/random').message);
        else connection.send(channel, 'Done', { re: message.number });
        return;
      }
      case 'Info':
        connection.send(channel, 'InfoReply', { re: message.number, ...this.#info() });
        return;
      case 'Shutdown':
        if (this.#power === undefined) {
          refuse('unsupported', "the agent is not the guest's first process: its init ends it");
          return;
        }
        connection.send(channel, 'Done', { re: message.number });
        this.#power.shutDown(message.body.mode, message.body.graceMs);
        return;
      case 'Signal':
        if (message.body.sessionId === undefined) {
          refuse('session_ended', `no session runs on channel ${channel}`);
          return;
        }
        this.#registry.signal(message.body.sessionId, message.body);
        connection.send(channel, 'Done', { re: message.number });
        return;
      case 'Resize':
      case 'Rlimits':
      case 'Detach':
        refuse('session_ended', `no session runs on channel ${channel}`);
        return;
      case 'Done':
      case 'Failure':
        return; // of a session that is over
      default:
        refuse('unsupported', `${message.name} is not for an agent`);
    }
  }

  #info(): Omit<Extract<Message, { name: 'InfoReply' }>['body'], 're'> {
    return {
      agentVersion,
      pid: process.pid,
      uptimeMs: Math.round(systemClock.now() - this.#startedAt),
      sessionsRunning: this.#registry.running,
      sessionsMax: this.#config.sessionsMax,
      sessionsStarted: this.#registry.started,
      launchesPending: this.#launcher.launchesPending,
      spoolBytes: this.#budget.bytes,
      spoolBudgetBytes: this.#budget.bytesMax,
      lines: [...this.#lines].map((line) => {
        const { bytesIn, bytesOut, framesIn, framesOut, skippedBytes, skips } = line.counters;
        return {
          name: line.name,
          kind: line.kind,
          bytesIn,
          bytesOut,
          framesIn,
          framesOut,
          skippedBytes,
          skips,
        };
      }),
      system: { hostname: hostname(), release: release(), arch: arch(), node: process.version },
    };
  }
}

const systemClocks: Clocks = {
  realtimeUs: () => Date.now() * 1000,
  monotonicUs: () => Number(process.hrtime.bigint() / 1000n),
  setRealtime: (us) => {
    const result = setClock(us);
    if (result < 0) throw systemCallError('clock_settime', result, 'CLOCK_REALTIME');
  },
};

/** Another one for every start of the agent: its session ids must not come twice. */
function newBootId(): string {
  const bytes = Buffer.alloc(8);
  const result = native.random(bytes, bytes.length);
  if (result < 0) throw systemCallError('getrandom', result, 'boot id');
  return bytes.toString('hex');
}

/** The agent's variables as the kernel gave them: bytes, which `process.env` is not. */
function ownEnvironment(): Buffer[] {
  const block = readFileSync('/proc/self/environ');
  const variables: Buffer[] = [];
  for (let at = 0; at < block.length; ) {
    const end = block.indexOf(0, at) < 0 ? block.length : block.indexOf(0, at);
    if (block.includes(0x3d, at)) variables.push(block.subarray(at, end));
    at = end + 1;
  }
  return variables;
}
