import type {
  AgentIdentity,
  Clock,
  Frame,
  HawserError,
  Limits,
  Line,
  MessageCodec,
  PortCounters,
} from '@hawser/protocol';
import { AgentGreeting, Port } from '@hawser/protocol';
import type { Faults } from './faults.js';
import type { Hosts } from './hosts.js';
import type { Log } from './log.js';

/** Size of a line's read buffer, bytes: what one read takes at most. */
const readBufferBytes = 128 * 1024;

/** Skipped bytes are logged so often at most, ms. */
const skipLogIntervalMs = 1_000;

export interface AgentLineOptions {
  readonly identity: AgentIdentity;
  readonly limits: Limits;
  readonly codec: MessageCodec;
  readonly clock: Clock;
  readonly token: string | undefined;
  readonly log: Log;
  readonly faults: Faults;
  readonly hosts: Hosts;
  heardTime(wallClockUs: number): void;
  closed(line: AgentLine): void;
}

/** One line of the agent: greets the hosts on its lanes. */
export class AgentLine {
  readonly name: string;
  readonly kind: string;
  readonly #options: AgentLineOptions;
  readonly #port: Port;
  readonly #greeting: AgentGreeting;
  /** Not yet logged. */
  #skippedBytes = 0;
  #cancelSkipLog: (() => void) | undefined;

  constructor(line: Line, options: AgentLineOptions) {
    this.#options = options;
    this.name = line.name;
    this.kind = line.kind;
    const { log, hosts } = options;
    this.#port = new Port(line, options.limits, readBufferBytes, {
      greeting: (frame) => this.#greet(frame),
      skipped: (bytes, reason) => this.#skipped(bytes, reason),
      closed: (error) => this.#closed(error),
    });
    this.#greeting = new AgentGreeting(this.#port, {
      identity: options.identity,
      limits: options.limits,
      codec: options.codec,
      clock: options.clock,
      token: options.token,
      heardTime: (wallClockUs) => options.heardTime(wallClockUs),
      find: (connectionKey) => hosts.find(connectionKey),
      welcomed: (lane, agreement, hello) =>
        hosts.welcome(this, this.#port, lane, agreement, hello.hostVersion),
      resumed: (_lane, connection) => hosts.resumed(this, connection),
      refused: (error) =>
        log.warn({ line: line.name, code: error.code, reason: error.message }, 'refused a host'),
    });
  }

  /** Whoever was not greeted for a fault of ours asks again. */
  #greet(frame: Frame): void {
    try {
      this.#greeting.frame(frame);
    } catch (error) {
      this.#options.faults.report(error, `a greeting on ${this.name}`);
    }
  }

  get counters(): Readonly<PortCounters> {
    return this.#port.counters;
  }

  /** The first at once, then their sum: a serial port gives a few bytes at a time, and its log may be one too. */
  #skipped(bytes: number, reason: string): void {
    // A host that fills a frame which was cut off says so: nothing is wrong.
    if (reason === 'filler') {
      this.#options.log.debug({ line: this.name, bytes }, 'skipped filler');
      return;
    }
    this.#skippedBytes += bytes;
    if (this.#cancelSkipLog !== undefined) return;
    this.#logSkipped(reason);
    this.#cancelSkipLog = this.#options.clock.after(skipLogIntervalMs, () => {
      this.#cancelSkipLog = undefined;
      if (this.#skippedBytes > 0) this.#skipped(0, reason);
    });
  }

  #logSkipped(reason: string): void {
    const bytes = this.#skippedBytes;
    this.#skippedBytes = 0;
    this.#options.log.warn({ line: this.name, bytes, reason }, 'skipped bytes that are no frame');
  }

  start(): void {
    this.#port.start();
    this.#greeting.announce();
  }

  /**
   * Says goodbye on every lane, and closes the line when that was sent. A socket is left for the hosts to close:
   * one that is just writing to a closed one would get EPIPE, and the goodbye would never be read.
   */
  close(reason: HawserError): void {
    const hangsUp = this.#isSocket && this.#port.clientCount > 0;
    this.#options.hosts.closeOn(this, reason);
    if (!hangsUp) this.#port.closeAfterFlush();
  }

  /** Something of that lane was lost: its host is asked to greet again. */
  ask(lane: number): void {
    this.#greeting.ask(lane);
  }

  stopAsking(lane: number): void {
    this.#greeting.stopAsking(lane);
  }

  /** A host went elsewhere, or is not heard any more. A socket that carries nobody is of no use; a device is. */
  left(): void {
    if (this.#port.clientCount === 0 && this.#isSocket) this.#port.close();
  }

  get #isSocket(): boolean {
    return this.kind === 'unix' || this.kind === 'vsock';
  }

  #closed(error: HawserError | undefined): void {
    this.#cancelSkipLog?.();
    this.#greeting.stop();
    this.#options.log.debug({ line: this.name, reason: error?.message }, 'the line was closed');
    this.#options.closed(this);
  }
}
