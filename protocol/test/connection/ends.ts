import { AgentGreeting } from '../../src/connection/agent-greeting.js';
import type { Channel } from '../../src/connection/channel.js';
import type { Agreement, ConnectionNotice, Message } from '../../src/connection/connection.js';
import { Connection } from '../../src/connection/connection.js';
import { HostGreeting } from '../../src/connection/host-greeting.js';
import { Port } from '../../src/connection/port.js';
import type { ReceiveStream } from '../../src/connection/receive-stream.js';
import { HawserError } from '../../src/errors.js';
import type { SkipReason } from '../../src/frames/decoder.js';
import type { DataFrameName } from '../../src/frames/frame-types.js';
import { frameTypes } from '../../src/frames/frame-types.js';
import type { Frame } from '../../src/frames/header.js';
import type { Limits } from '../../src/limits.js';
import { defaultLimits } from '../../src/limits.js';
import { MessageCodec } from '../../src/messages/codec.js';
import type { Payload } from '../../src/messages/schemas.js';
import { SpoolBudget } from '../../src/spool.js';
import type { TestLine } from './test-line.js';
import { HandClock } from './test-line.js';

export interface EndOptions {
  readonly limits?: Partial<Limits>;
  readonly clock?: HandClock;
  readonly token?: string;
  readonly budgetBytes?: number;
}

/** What both ends have: a port, and a record of what was reported. */
abstract class End {
  readonly line: TestLine;
  readonly limits: Limits;
  readonly clock: HandClock;
  readonly codec: MessageCodec;
  readonly budget: SpoolBudget;
  readonly port: Port;
  readonly skips: { bytes: number; reason: SkipReason }[] = [];
  readonly notices: ConnectionNotice[] = [];
  readonly requests: { lane: number; channel: number; message: Message }[] = [];
  /** Why connections of this end were in doubt, and why they lost their line. */
  readonly doubts: HawserError[] = [];
  readonly suspensions: HawserError[] = [];
  /** How connections of this end ended. */
  readonly ends: { lane: number; error: HawserError }[] = [];
  /** Called for a request, beside the record. */
  onRequest: (connection: Connection, channel: number, message: Message) => void = () => {};

  constructor(line: TestLine, options: EndOptions) {
    this.line = line;
    this.limits = { ...defaultLimits, ...options.limits };
    this.clock = options.clock ?? new HandClock();
    this.codec = new MessageCodec(this.limits);
    this.budget = new SpoolBudget(options.budgetBytes ?? 16 * 1024 * 1024);
    this.port = new Port(line, this.limits, 64 * 1024, {
      greeting: (frame) => this.greetingFrame(frame),
      skipped: (bytes, reason) => this.skips.push({ bytes, reason }),
      closed: () => {},
    });
  }

  /** Ends the connections that have no line any more, as their owner does after a while. */
  abstract giveUp(): void;
  protected abstract greetingFrame(frame: Frame): void;
  protected abstract doubted(connection: Connection): void;

  protected connect(lane: number, agreement: Agreement, ended: () => void): Connection {
    const connection: Connection = new Connection(this.port, {
      lane,
      agreement,
      limits: this.limits,
      codec: this.codec,
      clock: this.clock,
      budget: this.budget,
      handler: {
        request: (channel, message) => {
          this.requests.push({ lane, channel, message });
          this.onRequest(connection, channel, message);
        },
        notice: (notice) => this.notices.push(notice),
        doubtful: (reason) => {
          this.doubts.push(reason);
          this.doubted(connection);
        },
        suspended: (reason) => {
          this.suspensions.push(reason);
        },
        closed: (error) => {
          this.ends.push({ lane, error });
          ended();
        },
      },
    });
    return connection;
  }
}

/** The agent's end, without what an agent does. */
export class AgentEnd extends End {
  readonly greeting: AgentGreeting;
  /** By lane; one that lost its line is still there. */
  readonly connections = new Map<number, Connection>();
  /** Shared by all lines of one agent. */
  readonly known: Map<string, Connection>;
  resumed = 0;
  /** What hosts said of the time. */
  readonly times: number[] = [];
  readonly refusals: HawserError[] = [];
  readonly hellos: Payload<'Hello'>[] = [];

  constructor(line: TestLine, options: EndOptions & { before?: AgentEnd } = {}) {
    super(line, options);
    this.known = options.before?.known ?? new Map<string, Connection>();
    this.greeting = new AgentGreeting(this.port, {
      identity: { agentVersion: '1.2.3', bootId: 'boot', bootEpoch: 4, features: ['exec'], sessionsMax: 9 },
      limits: this.limits,
      codec: this.codec,
      token: options.token,
      clock: this.clock,
      heardTime: (wallClockUs) => this.times.push(wallClockUs),
      find: (key) => this.known.get(Buffer.from(key).toString('hex')),
      welcomed: (lane, agreement, hello) => {
        this.hellos.push(hello);
        const key = Buffer.from(hello.connectionKey).toString('hex');
        const connection: Connection = this.connect(lane, agreement, () => {
          this.known.delete(key);
          if (this.connections.get(lane) === connection) this.connections.delete(lane);
        });
        this.known.set(key, connection);
        this.connections.set(lane, connection);
      },
      resumed: (lane, connection) => {
        this.resumed++;
        this.connections.set(lane, connection);
      },
      refused: (error) => this.refusals.push(error),
    });
  }

  start(): this {
    this.port.start();
    this.greeting.announce();
    return this;
  }

  protected override greetingFrame(frame: Frame): void {
    this.greeting.frame(frame);
  }

  protected override doubted(connection: Connection): void {
    this.greeting.ask(connection.lane);
  }

  override giveUp(): void {
    for (const connection of this.known.values()) if (connection.port === undefined) connection.end(gone());
    this.greeting.stop();
  }

  /** The connection of lane 0. */
  get connection(): Connection {
    const connection = this.connections.get(0);
    if (connection === undefined) throw new Error('no host is connected');
    return connection;
  }
}

function gone(): HawserError {
  return new HawserError('connection_lost', 'the grace is over');
}

/** The host's end of one lane. */
export class HostEnd extends End {
  greeting: HostGreeting | undefined;
  welcome: Payload<'Welcome'> | undefined;
  failure: HawserError | undefined;
  /** How many greeting frames came after the handshake. */
  greetedAgain = 0;
  readonly #lane: number;
  readonly #key: Uint8Array;
  readonly #token: string | undefined;
  readonly #checked: boolean;
  #attempts = { sent: 1000, answered: 1000 };
  #connection: Connection | undefined;

  constructor(line: TestLine, options: EndOptions & { lane?: number; key?: number; checked?: boolean } = {}) {
    super(line, options);
    this.#lane = options.lane ?? 0;
    this.#key = Buffer.alloc(16, options.key ?? 0xaa);
    this.#token = options.token;
    this.#checked = options.checked ?? false;
  }

  start(): this {
    this.port.start();
    this.greet();
    return this;
  }

  /** Greets, and goes on with the connection where there is one. @param before whose connection goes on here. */
  greet(before?: HostEnd): void {
    if (before !== undefined) {
      this.#connection = before.#connection;
      this.#attempts = before.#attempts;
    }
    const connection = this.#connection;
    this.greeting?.stop();
    this.greeting = new HostGreeting(this.port, {
      lane: this.#lane,
      limits: this.limits,
      codec: this.codec,
      clock: this.clock,
      connectionKey: this.#key,
      hostVersion: '3.2.1',
      token: this.#token,
      checked: this.#checked,
      wallClockUs: () => 1_700_000_000_000_000,
      attempts: connection === undefined ? undefined : this.#attempts,
      resume: connection === undefined ? undefined : () => connection.takePositions(),
      welcomed: (agreement, welcome, theirs) => {
        this.welcome = welcome;
        if (connection === undefined)
          this.#connection = this.connect(this.#lane, agreement, () => (this.#connection = undefined));
        else connection.resume(this.port, this.#lane, agreement, theirs);
      },
      failed: (error) => (this.failure = error),
    });
  }

  protected override doubted(): void {
    this.greet();
  }

  protected override greetingFrame(frame: Frame): void {
    if (frame.lane !== this.#lane && frame.type !== 1) return;
    if (this.welcome !== undefined) this.greetedAgain++;
    if (frame.type === frameTypes.Ready.id && this.#connection?.connected === true) this.greet();
    else this.greeting?.frame(frame);
  }

  override giveUp(): void {
    this.greeting?.stop();
    this.#connection?.end(gone());
  }

  get connected(): boolean {
    return this.#connection?.connected === true;
  }

  get connection(): Connection {
    if (this.#connection === undefined) throw new Error('no agent is connected');
    return this.#connection;
  }
}

/** A channel's other side in a test: records messages and the end. */
export class Listener {
  readonly messages: Message[] = [];
  ended: HawserError | undefined;
  message(message: Message): void {
    this.messages.push(message);
  }
  closed(error: HawserError): void {
    this.ended = error;
  }
}

/** A stream's bytes as they come. */
export class Sink {
  readonly chunks: Buffer[] = [];
  readonly gaps: [number, number][] = [];
  ended = false;
  bytes = 0;
  readonly stream: ReceiveStream;
  /** Whether bytes are consumed as they come. */
  consumes: boolean;

  constructor(channel: Channel, type: DataFrameName, consumes = true) {
    this.consumes = consumes;
    this.stream = channel.openReceiveStream(type, this);
  }

  data(bytes: Uint8Array): boolean {
    this.chunks.push(Buffer.from(bytes));
    this.bytes += bytes.length;
    if (this.consumes) this.stream.consume(bytes.length);
    return true;
  }

  end(): void {
    this.ended = true;
  }

  gap(from: number, to: number): void {
    this.gaps.push([from, to]);
  }

  get content(): Buffer {
    return Buffer.concat(this.chunks);
  }
}
