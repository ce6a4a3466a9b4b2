import { Buffer } from 'node:buffer';
import type {
  Agreement,
  Clock,
  Connection,
  ConnectionNotice,
  Limits,
  Message,
  MessageCodec,
  Port,
  SpoolBudget,
} from '@hawser/protocol';
import { HawserError, Connection as ProtocolConnection } from '@hawser/protocol';
import type { AgentLine } from './agent-line.js';
import type { Faults } from './faults.js';
import type { Log } from './log.js';

export interface HostsOptions {
  readonly limits: Limits;
  readonly codec: MessageCodec;
  readonly clock: Clock;
  readonly budget: SpoolBudget;
  readonly log: Log;
  readonly faults: Faults;
  request(connection: Connection, channel: number, message: Message): void;
}

/** A host's connection, and the line that it is on, or was on last. */
interface Host {
  readonly key: string;
  readonly connection: Connection;
  line: AgentLine;
  /** While it has no line: ends the wait for it. */
  cancelGrace: (() => void) | undefined;
}

/**
 * The connections of all hosts. A connection outlives its line: whoever shows its key on another goes on
 * with it, within its grace; after that it is over, and its sessions go as each of them was to.
 */
export class Hosts {
  readonly #options: HostsOptions;
  readonly #byKey = new Map<string, Host>();
  /** Those without a line, the longest so first. */
  readonly #suspended = new Set<Host>();

  constructor(options: HostsOptions) {
    this.#options = options;
  }

  find(connectionKey: Uint8Array): Connection | undefined {
    return this.#byKey.get(nameOf(connectionKey))?.connection;
  }

  /** A new host has greeted on `line`. */
  welcome(line: AgentLine, port: Port, lane: number, agreement: Agreement, hostVersion: string): void {
    const { limits, codec, clock, budget, log, faults } = this.#options;
    const connection: Connection = new ProtocolConnection(port, {
      lane,
      agreement,
      limits,
      codec,
      clock,
      budget,
      handler: {
        request: (channel, message) => this.#options.request(connection, channel, message),
        notice: (notice) => this.#notice(host, notice),
        doubtful: (reason) => {
          log.debug({ line: host.line.name, reason: reason.message }, 'asking a host to greet again');
          host.line.ask(connection.lane);
        },
        suspended: (reason) => this.#suspend(host, reason),
        closed: (error) => this.#closed(host, error),
        fault: (error, message, channel) => {
          if (message === undefined) faults.report(error, `a frame of channel ${channel}`);
          else faults.answer(connection, channel, message, error);
        },
      },
    });
    const host: Host = { key: nameOf(agreement.connectionKey), connection, line, cancelGrace: undefined };
    this.#byKey.set(host.key, host);
    const { generation, checked } = agreement;
    log.info({ line: line.name, lane, hostVersion, generation, checked }, 'a host connected');
  }

  /** A host that was known goes on, on `line`. */
  resumed(line: AgentLine, connection: Connection): void {
    const host = this.#byKey.get(nameOf(connection.agreement.connectionKey));
    if (host === undefined) return;
    const before = host.line;
    const wasAway = this.#suspended.delete(host);
    host.cancelGrace?.();
    host.cancelGrace = undefined;
    host.line = line;
    if (before !== line) before.left();
    if (wasAway || before !== line)
      this.#options.log.info({ line: line.name, lane: connection.lane }, 'a host is back');
  }

  /** Asks every host on a line to greet again: it may not be there any more, nor what was on its way. */
  askAll(): void {
    for (const { connection, line } of this.#byKey.values())
      if (connection.port !== undefined) line.ask(connection.lane);
  }

  /** Says goodbye to the hosts on `line`. */
  closeOn(line: AgentLine, reason: HawserError): void {
    for (const host of this.#byKey.values()) {
      if (host.line === line && host.connection.port !== undefined) host.connection.close(reason);
    }
  }

  /** Ends the connections that have no line. */
  endAway(reason: HawserError): void {
    for (const host of this.#suspended) host.connection.end(reason);
  }

  #suspend(host: Host, reason: HawserError): void {
    const { clock, limits, log } = this.#options;
    const { connection, line } = host;
    const { graceMs } = connection.agreement;
    log.info({ line: line.name, code: reason.code, reason: reason.message, graceMs }, 'a host lost its line');
    line.left();
    if (graceMs === 0) {
      connection.end(reason);
      return;
    }
    this.#suspended.add(host);
    host.cancelGrace = clock.after(graceMs, () => connection.end(graceOver(graceMs)));
    if (this.#suspended.size <= limits.suspendedConnectionsMax) return;
    const [oldest] = this.#suspended;
    oldest?.connection.end(
      new HawserError(
        'limit_exceeded',
        `more than suspendedConnectionsMax ${limits.suspendedConnectionsMax} hosts have no line`,
      ),
    );
  }

  #closed(host: Host, error: HawserError): void {
    const { line } = host;
    host.cancelGrace?.();
    this.#suspended.delete(host);
    this.#byKey.delete(host.key);
    line.stopAsking(host.connection.lane);
    this.#options.log.info({ line: line.name, code: error.code, reason: error.message }, 'a host is gone');
  }

  #notice(host: Host, notice: ConnectionNotice): void {
    if (notice.kind === 'stale_channel') return; // frames that crossed the end of their session
    const reason =
      notice.kind === 'message_invalid' ? notice.error.message : `unknown frame type ${notice.type}`;
    this.#options.log.warn({ line: host.line.name, kind: notice.kind, reason }, 'refused a message');
  }
}

function nameOf(connectionKey: Uint8Array): string {
  return Buffer.from(connectionKey).toString('hex');
}

function graceOver(graceMs: number): HawserError {
  return new HawserError('connection_lost', `the host did not come back within resumeGraceMs ${graceMs}`);
}
