import type {
  AgentIdentity,
  Agreement,
  Clock,
  ConnectionNotice,
  Limits,
  Line,
  Message,
  MessageCodec,
  PortCounters,
  SpoolBudget,
} from '@hawser/protocol';
import { AgentGreeting, Connection, HawserError, Port } from '@hawser/protocol';
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
  readonly budget: SpoolBudget;
  readonly token: string | undefined;
  readonly log: Log;
  request(connection: Connection, channel: number, message: Message): void;
  closed(line: AgentLine): void;
}

/** One line of the agent, with the connections on its lanes. */
export class AgentLine {
  readonly name: string;
  readonly kind: string;
  readonly #options: AgentLineOptions;
  readonly #port: Port;
  readonly #greeting: AgentGreeting;
  readonly #connections = new Map<number, Connection>();
  /** Not yet logged. */
  #skippedBytes = 0;
  #cancelSkipLog: (() => void) | undefined;

  constructor(line: Line, options: AgentLineOptions) {
    this.#options = options;
    this.name = line.name;
    this.kind = line.kind;
    const { log } = options;
    this.#port = new Port(line, options.limits, readBufferBytes, {
      greeting: (frame) => this.#greeting.frame(frame),
      skipped: (bytes, reason) => this.#skipped(bytes, reason),
      closed: (error) => this.#closed(error),
    });
    this.#greeting = new AgentGreeting(this.#port, {
      identity: options.identity,
      limits: options.limits,
      codec: options.codec,
      token: options.token,
      welcomed: (lane, agreement, hello) => this.#welcomed(lane, agreement, hello.hostVersion),
      refused: (error) =>
        log.warn({ line: line.name, code: error.code, reason: error.message }, 'refused a host'),
    });
  }

  get counters(): Readonly<PortCounters> {
    return this.#port.counters;
  }

  /** The first at once, then their sum: a serial port gives a few bytes at a time, and its log may be one too. */
  #skipped(bytes: number, reason: string): void {
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

  /** Says goodbye on every lane, and closes the line when that was sent. */
  close(reason: HawserError): void {
    for (const connection of this.#connections.values()) connection.close(reason);
    this.#port.closeAfterFlush();
  }

  #welcomed(lane: number, agreement: Agreement, hostVersion: string): void {
    const { log, limits, codec, clock, budget } = this.#options;
    // Whoever had the lane is gone, or it would not be greeting again.
    this.#connections
      .get(lane)
      ?.lineClosed(new HawserError('connection_closed', 'another host took the lane'));
    const connection: Connection = new Connection(this.#port, {
      lane,
      agreement,
      limits,
      codec,
      clock,
      budget,
      handler: {
        request: (channel, message) => this.#options.request(connection, channel, message),
        notice: (notice) => this.#notice(notice),
        closed: (error) => this.#connectionClosed(lane, connection, error),
      },
    });
    this.#connections.set(lane, connection);
    log.info(
      { line: this.name, lane, hostVersion, generation: agreement.generation, checked: agreement.checked },
      'a host connected',
    );
  }

  #notice(notice: ConnectionNotice): void {
    if (notice.kind === 'stale_channel') return; // frames that crossed the end of their session
    const reason =
      notice.kind === 'message_invalid' ? notice.error.message : `unknown frame type ${notice.type}`;
    this.#options.log.warn({ line: this.name, kind: notice.kind, reason }, 'refused a message');
  }

  #connectionClosed(lane: number, connection: Connection, error: HawserError): void {
    if (this.#connections.get(lane) === connection) {
      this.#connections.delete(lane);
      this.#greeting.forget(lane);
    }
    this.#options.log.info(
      { line: this.name, lane, code: error.code, reason: error.message },
      'a host is gone',
    );
  }

  #closed(error: HawserError | undefined): void {
    this.#cancelSkipLog?.();
    this.#options.log.debug({ line: this.name, reason: error?.message }, 'the line was closed');
    this.#options.closed(this);
  }
}
