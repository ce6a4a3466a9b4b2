import { AgentGreeting } from '../../src/connection/agent-greeting.js';
import type { Agreement, ConnectionOptions, Message } from '../../src/connection/connection.js';
import { Connection } from '../../src/connection/connection.js';
import { HostGreeting } from '../../src/connection/host-greeting.js';
import { Port } from '../../src/connection/port.js';
import { HawserError } from '../../src/errors.js';
import { frameTypes } from '../../src/frames/frame-types.js';
import type { Frame } from '../../src/frames/header.js';
import type { Limits } from '../../src/limits.js';
import { defaultLimits } from '../../src/limits.js';
import type { Line } from '../../src/line.js';
import { MessageCodec } from '../../src/messages/codec.js';
import { SpoolBudget } from '../../src/spool.js';
import type { CableOptions, Traffic } from './sim-cable.js';
import { SimCable } from './sim-cable.js';
import { SimClock } from './sim-clock.js';

export interface WorldOptions {
  readonly limits?: Partial<Limits>;
  readonly cable: CableOptions;
  /** Of both ends, bytes. */
  readonly budgetBytes: number;
}

/**
 * An agent and a host that comes back over cable after cable: what `agentd/src/hosts.ts` and
 * `host-client/src/link.ts` do, on simulated time.
 */
export class World {
  readonly clock = new SimClock();
  readonly limits: Limits;
  readonly codec: MessageCodec;
  readonly traffic: Traffic = { toAgent: 0, toHost: 0 };
  readonly agent: SimAgent;
  readonly host: SimHost;
  readonly options: WorldOptions;
  /** Cables that were used so far. */
  cables = 0;

  constructor(
    options: WorldOptions,
    request: (connection: Connection, channel: number, message: Message) => void,
  ) {
    this.options = options;
    this.limits = { ...defaultLimits, ...options.limits };
    this.codec = new MessageCodec(this.limits);
    this.agent = new SimAgent(this, request);
    this.host = new SimHost(this);
  }

  /** One more cable. @returns the host's end of it. */
  plugIn(): Line {
    this.cables++;
    // A serial port is one: what opens it again is at the same other end.
    if (this.options.cable.kind === 'uart') this.agent.close();
    const cable = new SimCable(this.clock, this.options.cable, this.traffic);
    this.agent.opened(cable.agent);
    return cable.host;
  }
}

interface KnownHost {
  readonly connection: Connection;
  line: AgentSide;
  cancelGrace: (() => void) | undefined;
}

interface AgentSide {
  readonly port: Port;
  readonly greeting: AgentGreeting;
}

class SimAgent {
  readonly budget: SpoolBudget;
  readonly sides = new Set<AgentSide>();
  readonly known = new Map<string, KnownHost>();
  readonly ends: { key: string; error: HawserError }[] = [];
  readonly refusals: HawserError[] = [];
  resumptions = 0;
  readonly #world: World;
  readonly #request: (connection: Connection, channel: number, message: Message) => void;

  constructor(world: World, request: (connection: Connection, channel: number, message: Message) => void) {
    this.#world = world;
    this.#request = request;
    this.budget = new SpoolBudget(world.options.budgetBytes);
  }

  opened(line: Line): void {
    const { limits, codec, clock } = this.#world;
    const port: Port = new Port(line, limits, 64 * 1024, {
      greeting: (frame) => greeting.frame(frame),
      skipped: () => {},
      closed: () => {
        greeting.stop();
        this.sides.delete(side);
      },
    });
    const greeting: AgentGreeting = new AgentGreeting(port, {
      identity: { agentVersion: '1', bootId: 'boot', bootEpoch: 0, features: [], sessionsMax: 9 },
      limits,
      codec,
      clock,
      token: undefined,
      heardTime: () => {},
      find: (key) => this.known.get(Buffer.from(key).toString('hex'))?.connection,
      welcomed: (lane, agreement) => this.#welcomed(side, lane, agreement),
      resumed: (_lane, connection) => this.#resumed(side, connection),
      refused: (error) => this.refusals.push(error),
    });
    const side: AgentSide = { port, greeting };
    this.sides.add(side);
    port.start();
    greeting.announce();
  }

  #welcomed(side: AgentSide, lane: number, agreement: Agreement): void {
    const key = Buffer.from(agreement.connectionKey).toString('hex');
    const options: ConnectionOptions = {
      lane,
      agreement,
      limits: this.#world.limits,
      codec: this.#world.codec,
      clock: this.#world.clock,
      budget: this.budget,
      handler: {
        request: (channel, message) => this.#request(connection, channel, message),
        notice: () => {},
        doubtful: () => host.line.greeting.ask(connection.lane),
        suspended: () => {
          this.#left(host.line);
          host.cancelGrace = this.#world.clock.after(agreement.graceMs, () =>
            connection.end(new HawserError('connection_lost', 'the grace is over')),
          );
        },
        closed: (error) => {
          host.cancelGrace?.();
          host.line.greeting.stopAsking(connection.lane);
          this.known.delete(key);
          this.ends.push({ key, error });
        },
      },
    };
    const connection: Connection = new Connection(side.port, options);
    const host: KnownHost = { connection, line: side, cancelGrace: undefined };
    this.known.set(key, host);
  }

  #resumed(side: AgentSide, connection: Connection): void {
    const host = this.known.get(Buffer.from(connection.agreement.connectionKey).toString('hex'));
    if (host === undefined) return;
    this.resumptions++;
    host.cancelGrace?.();
    host.cancelGrace = undefined;
    const before = host.line;
    host.line = side;
    if (before !== side) this.#left(before);
  }

  #left({ port }: AgentSide): void {
    if (port.clientCount === 0 && port.line.kind !== 'uart') port.close();
  }

  /** The connection of that key. */
  connection(key: string): Connection | undefined {
    return this.known.get(key)?.connection;
  }

  close(): void {
    for (const { port } of this.sides) port.close();
  }
}

class SimHost {
  readonly budget: SpoolBudget;
  connection: Connection | undefined;
  port: Port | undefined;
  failure: HawserError | undefined;
  readonly #world: World;
  #key = Buffer.alloc(16);
  #keys = 0;
  #greeting: HostGreeting | undefined;
  readonly #attempts = { sent: 1000, answered: 1000 };
  #cancelReopening: (() => void) | undefined;
  #reopenDelayMs = 25;

  constructor(world: World) {
    this.#world = world;
    this.budget = new SpoolBudget(world.options.budgetBytes);
  }

  start(): void {
    this.#open();
  }

  /** Of its connection, as the agent has it. */
  get key(): string {
    return this.#key.toString('hex');
  }

  get connected(): boolean {
    return this.connection?.connected === true;
  }

  close(): void {
    this.connection?.close();
    this.#greeting?.stop();
    this.#cancelReopening?.();
    this.port?.closeAfterFlush();
  }

  #open(): void {
    const line = this.#world.plugIn();
    const port: Port = new Port(line, this.#world.limits, 64 * 1024, {
      greeting: (frame) => this.#greetingFrame(port, frame),
      skipped: () => {},
      closed: () => {
        if (this.connection?.port === port || this.port !== port || this.failure !== undefined) return;
        this.#greeting?.stop();
        this.#greeting = undefined;
        if (this.connection?.open !== false) this.#reopen();
      },
    });
    this.port = port;
    port.start();
    this.#greet();
  }

  #reopen(): void {
    this.#cancelReopening?.();
    this.#cancelReopening = this.#world.clock.after(this.#reopenDelayMs, () => this.#open());
    this.#reopenDelayMs = Math.min(this.#reopenDelayMs * 2, 2000);
  }

  #greetingFrame(port: Port, frame: Frame): void {
    if (port !== this.port) return;
    if (frame.type === frameTypes.Ready.id && this.#greeting?.answered !== false) this.#greet();
    else this.#greeting?.frame(frame);
  }

  #greet(): void {
    this.#greeting?.stop();
    const port = this.port as Port;
    const { connection } = this;
    // Each attempt to connect is a connection of its own: of one that was not answered, the agent may know.
    if (connection === undefined) this.#key = Buffer.alloc(16, ++this.#keys);
    this.#greeting = new HostGreeting(port, {
      lane: 0,
      limits: this.#world.limits,
      codec: this.#world.codec,
      clock: this.#world.clock,
      connectionKey: this.#key,
      hostVersion: '1',
      checked: false,
      wallClockUs: () => 1,
      attempts: connection === undefined ? undefined : this.#attempts,
      resume: connection === undefined ? undefined : () => connection.takePositions(),
      welcomed: (agreement, _welcome, theirs) => {
        if (connection === undefined) {
          this.#connect(port, agreement);
          return;
        }
        const wrong = connection.impossible(theirs);
        if (wrong !== undefined) connection.end(wrong);
        else {
          this.#reopenDelayMs = 25;
          connection.resume(port, 0, agreement, theirs);
        }
      },
      failed: (error) => {
        if (error.code === 'handshake_timeout') port.close();
        else if (connection === undefined) this.failure = error;
        else connection.end(error);
      },
    });
  }

  #connect(port: Port, agreement: Agreement): void {
    this.connection = new Connection(port, {
      lane: 0,
      agreement,
      limits: this.#world.limits,
      codec: this.#world.codec,
      clock: this.#world.clock,
      budget: this.budget,
      handler: {
        request: () => {},
        notice: () => {},
        doubtful: () => this.#greet(),
        suspended: () => {
          this.#greeting?.stop();
          this.#greeting = undefined;
          this.port?.close();
          this.#reopen();
        },
        closed: (error) => {
          this.failure ??= error;
          this.#greeting?.stop();
          this.#cancelReopening?.();
          this.port?.closeAfterFlush();
        },
      },
    });
  }
}
