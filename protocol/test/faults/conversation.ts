import type { Channel } from '../../src/connection/channel.js';
import type { Connection, Message } from '../../src/connection/connection.js';
import type { ReceiveStream } from '../../src/connection/receive-stream.js';
import type { SendStream } from '../../src/connection/send-stream.js';
import type { DataFrameName } from '../../src/frames/frame-types.js';
import { noUsage } from '../messages/samples.js';
import { Random } from '../wire.js';
import type { SimClock } from './sim-clock.js';
import type { World } from './sim-world.js';

export interface SessionPlan {
  readonly stdinBytes: number;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  readonly signals: number;
  /** How long a receiver takes for what came, at most, ms; 0: none. */
  readonly dawdleMs: number;
  readonly spoolBytes: number;
}

const chunkBytes = 7919;

/** The bytes that a stream carries: others for each stream, the same in every run. */
function bytesOf(name: string, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let state = 0x9e37;
  for (const char of name) state = Math.imul(state ^ char.charCodeAt(0), 0x0100_0193) >>> 0;
  for (let i = 0; i < length; i++) {
    if ((i & 3) === 0) state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> ((i & 3) * 8);
  }
  return bytes;
}

/** Compares what comes with what was sent, byte by byte, as it comes. */
class Checker {
  readonly name: string;
  readonly #expected: Buffer;
  readonly #clock: SimClock;
  readonly #random: Random;
  readonly #dawdleMs: number;
  readonly stream: ReceiveStream;
  bytes = 0;
  ended = false;

  constructor(
    channel: Channel,
    type: DataFrameName,
    options: { name: string; expected: Buffer; clock: SimClock; random: Random; dawdleMs: number },
  ) {
    this.name = options.name;
    this.#expected = options.expected;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#dawdleMs = options.dawdleMs;
    this.stream = channel.openReceiveStream(type, this);
  }

  get complete(): boolean {
    return this.ended && this.bytes === this.#expected.length;
  }

  data(bytes: Uint8Array): boolean {
    if (this.ended) throw new Error(`${this.name}: bytes after the end`);
    if (this.#expected.compare(bytes, 0, bytes.length, this.bytes, this.bytes + bytes.length) !== 0)
      throw new Error(`${this.name}: other bytes than were sent, at ${this.bytes}`);
    this.bytes += bytes.length;
    const { length } = bytes;
    if (this.#dawdleMs === 0) this.stream.consume(length);
    else
      this.#clock.afterOurs(this.#random.below(this.#dawdleMs), () => {
        this.stream.consume(length);
        this.onConsumed();
      });
    return true;
  }

  onConsumed: () => void = () => {};

  end(): void {
    if (this.ended) throw new Error(`${this.name}: it ends twice`);
    this.ended = true;
    this.onConsumed();
  }

  gap(from: number, to: number): void {
    throw new Error(`${this.name}: a gap from ${from} to ${to}`);
  }
}

/** Writes bytes into a stream as it takes them. */
function feed(open: (onRoom: () => void) => SendStream, bytes: Buffer, onConsumed: () => void): SendStream {
  let at = 0;
  const put = (): void => {
    while (at < bytes.length) {
      const taken = stream.write(bytes.subarray(at, at + chunkBytes));
      at += taken;
      if (taken === 0) return;
    }
    stream.end();
  };
  const stream = open(() => {
    put();
    onConsumed();
  });
  put();
  return stream;
}

/**
 * Some sessions between a host and an agent, each with its three streams and its messages, and what must be
 * so of them whatever the line does: everything once, in order and whole.
 */
export class Conversation {
  readonly world: World;
  readonly #plans: readonly SessionPlan[];
  readonly #random: Random;
  readonly #hostSessions: HostSession[] = [];
  readonly #agentSessions = new Map<number, AgentSession>();
  #opened = false;

  /** @param makeWorld is given what the agent does with requests. */
  constructor(
    makeWorld: (request: (connection: Connection, channel: number, message: Message) => void) => World,
    plans: readonly SessionPlan[],
    seed: number,
  ) {
    this.#plans = plans;
    this.#random = new Random(seed);
    this.world = makeWorld((connection, channel, message) => this.#request(connection, channel, message));
  }

  /**
   * Holds the whole conversation.
   *
   * @param onComplete everything has arrived; the rest is taking leave.
   * @throws Error for whatever is not as it must be.
   */
  async run(limitMs: number, onComplete: () => void = () => {}): Promise<void> {
    const { world } = this;
    world.host.start();
    const done = await world.clock.run(limitMs, () => {
      this.#step();
      return this.#complete;
    });
    if (!done) throw new Error(`not complete after ${limitMs} ms: ${this.#progress()}`);
    onComplete();
    this.#assertOver();
    await this.#assertNothingLeft(limitMs);
  }

  #step(): void {
    const { host, agent, options } = this.world;
    if (host.failure !== undefined) throw new Error(`the host's connection ended: ${host.failure.message}`);
    const end = agent.ends.find(({ key }) => key === host.key && host.connection !== undefined);
    if (end !== undefined) throw new Error(`the agent's connection ended: ${end.error.message}`);
    const most = 1.5 * options.budgetBytes;
    if (host.budget.bytes > most || agent.budget.bytes > most)
      throw new Error(`spools of ${host.budget.bytes} and ${agent.budget.bytes} bytes`);
    if (this.#opened || host.connection === undefined) return;
    this.#opened = true;
    this.#plans.forEach((plan, i) => {
      const connection = host.connection as Connection;
      this.#hostSessions.push(new HostSession(connection, i + 1, plan, this.world.clock, this.#random));
    });
  }

  get #complete(): boolean {
    return (
      this.#opened &&
      this.#hostSessions.every(({ complete }) => complete) &&
      this.#agentSessions.size === this.#plans.length &&
      [...this.#agentSessions.values()].every(({ complete }) => complete)
    );
  }

  #progress(): string {
    const { host, agent, traffic, cables } = this.world;
    const ofAgent = agent.connection(host.key);
    return JSON.stringify({
      host: this.#hostSessions.map((session) => session.progress),
      agent: [...this.#agentSessions.values()].map((session) => session.progress),
      connected: [host.connected, ofAgent?.connected],
      traffic,
      cables,
      resumptions: agent.resumptions,
      refusals: agent.refusals.map(({ message }) => message).slice(0, 3),
    });
  }

  #assertOver(): void {
    for (const session of this.#hostSessions) session.assertOrder();
    for (const session of this.#agentSessions.values()) session.assertOrder();
    const { host, agent } = this.world;
    const ofAgent = agent.connection(host.key);
    const channels = [host.connection?.channelCount, ofAgent?.channelCount];
    if (channels.some((count) => count !== 0)) throw new Error(`channels are left: ${channels.join()}`);
    if (host.budget.bytes + agent.budget.bytes !== 0)
      throw new Error(`spools are left: ${host.budget.bytes}, ${agent.budget.bytes} bytes`);
  }

  async #assertNothingLeft(limitMs: number): Promise<void> {
    const { world } = this;
    const { host, agent, clock, options } = world;
    options.cable.toAgent.length = options.cable.toHost.length = 0;
    host.close();
    await clock.run(clock.now() + limitMs, () => agent.known.size === 0);
    if (agent.known.size > 0) throw new Error('the agent keeps a connection that is over');
    agent.close();
    await clock.run(clock.now() + 1000);
    if (clock.timersOfEnds > 0) throw new Error(`${clock.timersOfEnds} timers are left`);
    if (agent.sides.size > 0) throw new Error(`${agent.sides.size} lines are left`);
  }

  #request(connection: Connection, channel: number, message: Message): void {
    if (message.name !== 'ExecRequest')
      throw new Error(`${message.name} on channel ${channel}, which is over`);
    if (this.#agentSessions.has(channel)) throw new Error(`the request of channel ${channel} came twice`);
    const plan = this.#plans[channel - 1] as SessionPlan;
    this.#agentSessions.set(
      channel,
      new AgentSession(connection, channel, plan, this.world.clock, this.#random),
    );
  }
}

class HostSession {
  readonly #channel: Channel;
  readonly #plan: SessionPlan;
  readonly #stdin: SendStream;
  readonly #outputs: readonly Checker[];
  readonly #messages: string[] = [];
  #signalsSent = 0;
  #exited = false;
  #released = false;

  constructor(connection: Connection, number: number, plan: SessionPlan, clock: SimClock, random: Random) {
    this.#plan = plan;
    this.#channel = connection.openChannel(number, {
      message: (message) => this.#message(message),
      closed: () => {},
    });
    this.#outputs = (['Stdout', 'Stderr'] as const).map((type) => {
      const length = type === 'Stdout' ? plan.stdoutBytes : plan.stderrBytes;
      const expected = bytesOf(`${type}${number}`, length);
      const name = `${type} of ${number}`;
      return new Checker(this.#channel, type, { name, expected, clock, random, dawdleMs: plan.dawdleMs });
    });
    for (const output of this.#outputs) output.onConsumed = () => this.#settle();
    this.#channel.send('ExecRequest', { cmd: String(number) });
    this.#stdin = feed(
      (onRoom) => this.#channel.openSendStream('Stdin', plan.spoolBytes, onRoom),
      bytesOf(`Stdin${number}`, plan.stdinBytes),
      () => this.#settle(),
    );
    this.#signal();
  }

  get complete(): boolean {
    return this.#released;
  }

  get progress(): string {
    const [stdout, stderr] = this.#outputs;
    const messages = this.#messages.length > 5 ? this.#messages.length : this.#messages.join();
    return `in ${this.#stdin.consumedBytes}/${this.#plan.stdinBytes} out ${stdout?.bytes}/${this.#plan.stdoutBytes} err ${stderr?.bytes}/${this.#plan.stderrBytes} ${messages}`;
  }

  assertOrder(): void {
    const expected = ['ExecStarted', ...Array.from({ length: this.#plan.signals }, () => 'Done'), 'Exited'];
    const got = this.#messages.join();
    if (got !== expected.join()) throw new Error(`the host got ${got}`);
    for (const output of this.#outputs)
      if (!output.complete) throw new Error(`${output.name}: ${output.bytes} bytes, ended: ${output.ended}`);
    if (this.#stdin.consumedBytes !== this.#plan.stdinBytes) throw new Error('stdin was not taken whole');
  }

  #signal(): void {
    if (this.#signalsSent >= this.#plan.signals) return;
    this.#channel.send('Signal', { signal: String(this.#signalsSent++) });
  }

  #message(message: Message): void {
    this.#messages.push(message.name);
    if (message.name === 'Done') this.#signal();
    if (message.name === 'Exited') this.#exited = true;
    this.#settle();
  }

  /** As the host library does: with the exit and all output consumed, the channel is done with. */
  #settle(): void {
    if (!this.#exited || this.#released || !this.#stdin.consumed) return;
    // The sink of an output hears its end before its stream counts as finished.
    if (!this.#outputs.every(({ stream }) => stream.finished)) return;
    this.#released = true;
    this.#channel.release();
  }
}

class AgentSession {
  readonly #channel: Channel;
  readonly #plan: SessionPlan;
  readonly #stdin: Checker;
  readonly #outputs: SendStream[] = [];
  readonly #signals: string[] = [];
  #exitSent = false;
  #released = false;

  constructor(connection: Connection, number: number, plan: SessionPlan, clock: SimClock, random: Random) {
    this.#plan = plan;
    this.#channel = connection.openChannel(number, {
      message: (message) => this.#message(message),
      closed: () => {},
    });
    const expected = bytesOf(`Stdin${number}`, plan.stdinBytes);
    const name = `Stdin of ${number}`;
    this.#stdin = new Checker(this.#channel, 'Stdin', {
      name,
      expected,
      clock,
      random,
      dawdleMs: plan.dawdleMs,
    });
    this.#stdin.onConsumed = () => this.#settle();
    this.#channel.send('ExecStarted', { sessionId: String(number), pid: number, startedAtUs: 1 });
    for (const type of ['Stdout', 'Stderr'] as const) {
      const length = type === 'Stdout' ? plan.stdoutBytes : plan.stderrBytes;
      const bytes = bytesOf(`${type}${number}`, length);
      const open = (onRoom: () => void): SendStream =>
        this.#channel.openSendStream(type, plan.spoolBytes, onRoom);
      this.#outputs.push(feed(open, bytes, () => this.#settle()));
    }
    this.#settle();
  }

  get complete(): boolean {
    return this.#released;
  }

  get progress(): string {
    return `in ${this.#stdin.bytes} out ${this.#outputs.map(({ consumedBytes }) => consumedBytes).join()} signals ${this.#signals.length} exit ${this.#exitSent}`;
  }

  assertOrder(): void {
    const expected = Array.from({ length: this.#plan.signals }, (_, i) => String(i)).join();
    if (this.#signals.join() !== expected) throw new Error(`the agent got signals ${this.#signals.join()}`);
    if (!this.#stdin.complete) throw new Error(`stdin: ${this.#stdin.bytes} bytes came`);
  }

  #message(message: Message): void {
    if (message.name !== 'Signal') throw new Error(`${message.name} for a session`);
    this.#signals.push(message.body.signal);
    this.#channel.send('Done', { re: message.number });
    this.#settle();
  }

  #settle(): void {
    const { stdin, signals } = { stdin: this.#stdin, signals: this.#signals };
    if (!this.#exitSent) {
      if (!stdin.complete || signals.length < this.#plan.signals) return;
      this.#exitSent = true;
      const count = (bytes: number) => ({ bytes, dropped: 0 });
      this.#channel.send('Exited', {
        code: 0,
        coreDumped: false,
        timedOut: false,
        rusage: noUsage,
        startedAtUs: 1,
        durationUs: 1,
        stdout: count(this.#plan.stdoutBytes),
        stderr: count(this.#plan.stderrBytes),
        outputComplete: true,
      });
    }
    if (this.#released || !this.#outputs.every(({ consumed }) => consumed)) return;
    this.#released = true;
    this.#channel.release();
  }
}
