import { randomBytes } from 'node:crypto';
import type {
  Agreement,
  Connection,
  ConnectionNotice,
  Frame,
  Limits,
  Line,
  MessageCodec,
  Payload,
  Positions,
} from '@hawser/protocol';
import {
  frameTypes,
  HawserError,
  HostGreeting,
  Port,
  Connection as ProtocolConnection,
  SpoolBudget,
  systemClock,
} from '@hawser/protocol';
import { hostVersion } from './version.js';

/**
 * - connected: the agent is there.
 * - resuming: the line was lost, or something on it: the connection goes on as soon as the agent answers again.
 * - lost: it is over.
 */
export type LinkState = 'connected' | 'resuming' | 'lost';

export interface LinkOptions {
  readonly limits: Limits;
  readonly codec: MessageCodec;
  readonly token: string | undefined;
  readonly checked: boolean;
  /** How long the agent is to keep the connection without a line, ms; its own limit unless given. */
  readonly graceMs: number | undefined;
  /** How long a lost line is tried to be opened again, ms; as long as the agent keeps the connection unless given. */
  readonly reconnectMs: number | undefined;
  /** Opens the line once more; without it, the connection ends with its line. */
  readonly reopen: ((signal: AbortSignal) => Promise<Line>) | undefined;
  /** Ends the first attempt. */
  readonly signal: AbortSignal | undefined;
  /** What went wrong when the first attempt was aborted. */
  aborted(): HawserError;
  notice(notice: ConnectionNotice): void;
  stateChanged(state: LinkState, reason: HawserError | undefined): void;
  closed(error: HawserError): void;
}

/** What a host must not hold back an agent by: memory for stdin that agents have not taken yet, bytes. */
const spoolBudgetBytes = 256 * 1024 * 1024;
const readBufferBytes = 1024 * 1024;
/** From a lost line to the first attempt to open it again, and the longest between two attempts. */
const reopenMs = { first: 25, longest: 2_000 } as const;
/** More Hellos than one greeting says: those of a resumption are numbered from here. */
const firstAttempts = 1_000_000;
/** Used where an agent does not say how long it keeps a connection. */
const reconnectMsDefault = 30_000;

/**
 * A connection to an agent, over one line after the other: it greets, opens a lost line again, at growing
 * and jittered intervals, and goes on where it was. Owns its lines.
 */
export class Link {
  readonly welcome: Payload<'Welcome'>;
  readonly connection: Connection;
  readonly #options: LinkOptions;
  readonly #connectionKey: Uint8Array;
  /** The line in use, or being tried. */
  #port: Port;
  #greeting: HostGreeting | undefined;
  #state: LinkState = 'connected';
  readonly #attempts = { sent: firstAttempts, answered: firstAttempts };
  /** While there is no line: gives up looking for one. */
  #reopening: AbortController | undefined;

  private constructor(
    port: Port,
    greeted: { agreement: Agreement; welcome: Payload<'Welcome'> },
    options: LinkOptions,
  ) {
    this.#options = options;
    this.#port = port;
    this.#connectionKey = greeted.agreement.connectionKey;
    this.welcome = greeted.welcome;
    this.connection = new ProtocolConnection(port, {
      lane: 0,
      agreement: greeted.agreement,
      limits: options.limits,
      codec: options.codec,
      clock: systemClock,
      budget: new SpoolBudget(spoolBudgetBytes),
      handler: {
        request: () => {}, // a guest asks nothing of a host
        notice: (notice) => options.notice(notice),
        doubtful: (reason) => this.#greetAgain(reason),
        suspended: (reason) => this.#lineLost(reason),
        closed: (error) => this.#closed(error),
      },
    });
  }

  /** Greets the agent at the other end of `line`. @throws HawserError; the line is closed then. */
  static greet(line: Line, options: LinkOptions): Promise<Link> {
    return new Promise<Link>((resolve, reject) => {
      let link: Link | undefined;
      const fail = (error: HawserError): void => {
        options.signal?.removeEventListener('abort', onAbort);
        greeting.stop();
        // First, since a line that says at once that it is closed is a reason, too.
        reject(error);
        line.close();
      };
      const onAbort = (): void => fail(options.aborted());
      const port: Port = new Port(line, options.limits, readBufferBytes, {
        greeting: (frame) => {
          if (link === undefined) greeting.frame(frame);
          else link.#greetingFrame(port, frame);
        },
        skipped: () => {}, // counted by the port, and shown by `counters`
        closed: (error) => {
          // Later the connection is told by the port itself: it is suspended.
          if (link === undefined) fail(error ?? new HawserError('line_closed', `${line.name} was closed`));
        },
      });
      const greeting = new HostGreeting(port, {
        ...greetingOptions(options, randomBytes(16)),
        failed: fail,
        welcomed: (agreement, welcome) => {
          options.signal?.removeEventListener('abort', onAbort);
          link = new Link(port, { agreement, welcome }, options);
          resolve(link);
        },
      });
      port.start();
      if (options.signal?.aborted === true) onAbort();
      else options.signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  get state(): LinkState {
    return this.#state;
  }

  get port(): Port {
    return this.#port;
  }

  /** Says goodbye and ends the connection. */
  close(): void {
    this.connection.close();
  }

  /** Ends the connection for a reason that no line can tell: what is behind it is gone for good. */
  end(reason: HawserError): void {
    this.connection.end(reason);
  }

  #enter(state: LinkState, reason?: HawserError): void {
    if (this.#state === state || this.#state === 'lost') return;
    this.#state = state;
    this.#options.stateChanged(state, reason);
  }

  // The same line

  #greetingFrame(port: Port, frame: Frame): void {
    if (port !== this.#port) return;
    // The agent has missed something, or was started again: its answer to our Hello tells.
    if (frame.type === frameTypes.Ready.id && this.#greeting?.answered !== false) {
      this.#enter('resuming', new HawserError('line_corrupt', 'the agent asks to be greeted again'));
      this.#greet({ announced: true });
    } else {
      this.#greeting?.frame(frame);
    }
  }

  /** Something was lost: goes on over the same line when the agent has answered. */
  #greetAgain(reason: HawserError): void {
    this.#enter('resuming', reason);
    this.#greet();
  }

  /** Over the line in use. Without an answer that line is given up. */
  #greet({ announced }: { readonly announced: boolean } = { announced: false }): void {
    this.#greeting?.stop();
    const port = this.#port;
    this.#greeting = new HostGreeting(port, {
      ...greetingOptions(this.#options, this.#connectionKey),
      announced,
      attempts: this.#attempts,
      resume: () => this.connection.takePositions(),
      failed: (error) => {
        if (error.code === 'handshake_timeout') port.close();
        else this.connection.end(error);
      },
      welcomed: (agreement, welcome, theirs) => this.#welcomed(port, agreement, welcome, theirs),
    });
  }

  #welcomed(port: Port, agreement: Agreement, welcome: Payload<'Welcome'>, theirs: Positions): void {
    const wrong =
      welcome.bootId === this.welcome.bootId ? this.connection.impossible(theirs) : startedAgain();
    if (wrong !== undefined) {
      this.connection.end(wrong);
      return;
    }
    this.#reopening?.abort();
    this.connection.resume(port, 0, agreement, theirs);
    this.#enter('connected');
  }

  // Another line

  /** The connection has no line any more. */
  #lineLost(reason: HawserError): void {
    this.#greeting?.stop();
    this.#greeting = undefined;
    this.#port.close();
    const { reopen } = this.#options;
    const reconnectMs =
      this.#options.reconnectMs ?? (this.connection.agreement.graceMs || reconnectMsDefault);
    if (reopen === undefined || reconnectMs === 0) {
      this.connection.end(reason);
      return;
    }
    this.#enter('resuming', reason);
    this.#reopening = new AbortController();
    const { signal } = this.#reopening;
    void this.#reopen(reopen, signal, { until: systemClock.now() + reconnectMs, reconnectMs, reason });
  }

  async #reopen(
    reopen: (signal: AbortSignal) => Promise<Line>,
    signal: AbortSignal,
    limit: { until: number; reconnectMs: number; reason: HawserError },
  ): Promise<void> {
    let last = limit.reason;
    for (let delayMs: number = reopenMs.first; !signal.aborted; ) {
      await pause(delayMs * (0.5 + Math.random() / 2), signal);
      delayMs = Math.min(delayMs * 2, reopenMs.longest);
      if (signal.aborted) return;
      try {
        const line = await reopen(signal);
        if (signal.aborted) line.close();
        else last = await this.#tryLine(line);
      } catch (error) {
        last = error instanceof HawserError ? error : new HawserError('internal', String(error));
        if (last.code === 'unknown_vm') this.connection.end(last); // a VM that has ended does not come back
      }
      if (signal.aborted || this.connection.connected || !this.connection.open) return;
      if (systemClock.now() < limit.until) continue;
      const text = `the agent was not reached again within ${limit.reconnectMs} ms: ${last.message}`;
      this.connection.end(new HawserError('connection_lost', text, { cause: last }));
      return;
    }
  }

  /** Greets over `line`. @returns when that line is of no use, why; never where the connection goes on or is over. */
  #tryLine(line: Line): Promise<HawserError> {
    return new Promise((resolve) => {
      const port: Port = new Port(line, this.#options.limits, readBufferBytes, {
        greeting: (frame) => this.#greetingFrame(port, frame),
        skipped: () => {},
        closed: (error) => {
          const reason = error ?? new HawserError('line_closed', `${line.name} was closed`);
          if (this.connection.port !== port) this.#greeting?.stop();
          resolve(reason);
        },
      });
      this.#port = port;
      port.start();
      this.#greet();
    });
  }

  #closed(error: HawserError): void {
    this.#greeting?.stop();
    this.#reopening?.abort();
    this.#enter('lost', error);
    this.#port.closeAfterFlush();
    this.#options.closed(error);
  }
}

function greetingOptions(
  options: LinkOptions,
  connectionKey: Uint8Array,
): Omit<ConstructorParameters<typeof HostGreeting>[1], 'welcomed' | 'failed'> {
  return {
    lane: 0,
    limits: options.limits,
    codec: options.codec,
    clock: systemClock,
    connectionKey,
    hostVersion,
    token: options.token,
    checked: options.checked,
    graceMs: options.reopen === undefined ? 0 : options.graceMs,
    wallClockUs: () => Date.now() * 1000,
  };
}

function startedAgain(): HawserError {
  return new HawserError(
    'connection_lost',
    'the agent was started again: it knows nothing of the connection',
  );
}

/** Keeps the process alive meanwhile: somebody waits for what comes after it. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done, { once: true });
  });
}
