import { HawserError } from '../errors.js';
import { frameTypes } from '../frames/frame-types.js';
import type { Frame } from '../frames/header.js';
import type { Limits } from '../limits.js';
import { frameBytesMin } from '../limits.js';
import type { MessageCodec } from '../messages/codec.js';
import type { Payload } from '../messages/schemas.js';
import type { Clock } from './clock.js';
import type { Agreement, Connection } from './connection.js';
import { commonGeneration, generations } from './generations.js';
import type { Port } from './port.js';
import type { Positions } from './positions.js';
import { positionsFromWire, positionsOnWire } from './positions.js';

export interface AgentIdentity {
  readonly agentVersion: string;
  readonly bootId: string;
  readonly bootEpoch: number;
  readonly features: readonly string[];
  readonly sessionsMax: number;
}

export interface AgentGreetingOptions {
  readonly identity: AgentIdentity;
  readonly limits: Limits;
  readonly codec: MessageCodec;
  readonly clock: Clock;
  /** What a host has to show, where anything. */
  readonly token: string | undefined;
  /** The connection of that key that has not ended, on whatever line it is or was. */
  find(connectionKey: Uint8Array): Connection | undefined;
  /** An acceptable `Hello` says what time it is at the host, microseconds since 1970; before it is answered. */
  heardTime(wallClockUs: number): void;
  /** A new host is there. */
  welcomed(lane: number, agreement: Agreement, hello: Payload<'Hello'>): void;
  /** A host that was known goes on here. */
  resumed(lane: number, connection: Connection): void;
  /** A host was turned away, or what it sent was no `Hello`. */
  refused(error: HawserError): void;
}

/**
 * The agent's half of the handshake on one line: announces itself, and answers every `Hello`. One with
 * the key of a connection that is there goes on with it, from the positions that it tells; one with
 * another key takes the lane over.
 */
export class AgentGreeting {
  readonly #port: Port;
  readonly #options: AgentGreetingOptions;
  /** Lanes whose hosts were asked to greet again, and have not done so yet. */
  readonly #asking = new Map<number, () => void>();

  constructor(port: Port, options: AgentGreetingOptions) {
    this.#port = port;
    this.#options = options;
  }

  /** Says that an agent is here; to be called whenever the line was opened. */
  announce(lane = 0): void {
    const { agentVersion, bootId, bootEpoch } = this.#options.identity;
    const ready = this.#options.codec.encode('Ready', {
      agentVersion,
      bootId,
      bootEpoch,
      generations: [...generations],
    });
    this.#port.sendGreeting(frameTypes.Ready.id, lane, ready);
  }

  /** Something of that lane was lost: its host is asked to greet again, until it does. */
  ask(lane: number): void {
    const { limits, clock } = this.#options;
    let intervalMs: number = this.#port.line.mayCorrupt
      ? limits.helloAgainIntervalMs
      : limits.helloIntervalMs;
    const say = (): void => {
      this.announce(lane);
      this.#asking.set(lane, clock.after(intervalMs, say));
      intervalMs = Math.min(intervalMs * 2, limits.helloIntervalMaxMs);
    };
    this.#asking.get(lane)?.();
    say();
  }

  /** Asks nobody any more: the line is gone. */
  stop(): void {
    for (const lane of this.#asking.keys()) this.stopAsking(lane);
  }

  stopAsking(lane: number): void {
    this.#asking.get(lane)?.();
    this.#asking.delete(lane);
  }

  /** A greeting frame. */
  frame(frame: Frame): void {
    // A line that loops back, or a second agent on it: neither concerns us.
    if (frame.type !== frameTypes.Hello.id) return;
    let hello: Payload<'Hello'>;
    try {
      hello = this.#options.codec.decode('Hello', frame.payload);
    } catch (error) {
      this.#reject(frame.lane, error as HawserError);
      return;
    }
    this.#hello(frame.lane, hello);
  }

  #hello(lane: number, hello: Payload<'Hello'>): void {
    const connection = this.#options.find(hello.connectionKey);
    // A repetition, or one that a line had kept: the positions in it, and those in its answer, are old.
    if (connection?.isRepeated(hello.attempt) === true) return;
    const theirs = positionsFromWire(hello.resume);
    const refusal = this.#refusal(lane, hello) ?? this.#notResumable(hello, connection, theirs);
    if (refusal !== undefined) {
      this.#reject(lane, refusal, hello);
      return;
    }
    this.stopAsking(lane);
    if (hello.wallClockUs !== undefined) this.#options.heardTime(hello.wallClockUs);
    const { limits } = this.#options;
    const agreement: Agreement = {
      generation: commonGeneration(hello.generations) as number,
      connectionKey: hello.connectionKey,
      sendWindowBytes: hello.windowBytes,
      receiveWindowBytes: limits.stdinWindowBytes,
      frameBytesMax: hello.frameBytesMax,
      dataBytesMax: hello.frameBytesMax,
      checked: hello.checked === true || this.#port.line.mayCorrupt,
      graceMs: Math.min(hello.graceMs ?? limits.resumeGraceMs, limits.resumeGraceMs),
    };
    // The Welcome goes first: whatever the connection then sends finds a host that knows of it.
    this.#port.sendGreeting(
      frameTypes.Welcome.id,
      lane,
      this.#welcome(agreement, hello.attempt, connection?.takePositions()),
    );
    if (connection === undefined) {
      this.#options.welcomed(lane, agreement, hello);
    } else {
      connection.resume(this.#port, lane, agreement, theirs, hello.attempt);
      this.#options.resumed(lane, connection);
    }
  }

  #welcome(agreement: Agreement, attempt: number | undefined, ours: Positions | undefined): Uint8Array {
    const { identity, limits, codec } = this.#options;
    return codec.encode('Welcome', {
      generation: agreement.generation,
      connectionKey: agreement.connectionKey,
      agentVersion: identity.agentVersion,
      bootId: identity.bootId,
      bootEpoch: identity.bootEpoch,
      windowBytes: limits.stdinWindowBytes,
      frameBytesMax: limits.frameBytesMax,
      checked: agreement.checked,
      dataBytesMax: this.#port.line.dataBytesPreferred,
      heartbeatTimeoutMs: limits.heartbeatTimeoutMs,
      sessionsMax: identity.sessionsMax,
      features: [...identity.features],
      attempt,
      graceMs: agreement.graceMs,
      resume: ours === undefined ? undefined : positionsOnWire(ours),
    });
  }

  #notResumable(
    hello: Payload<'Hello'>,
    connection: Connection | undefined,
    theirs: Positions,
  ): HawserError | undefined {
    if (connection !== undefined) return connection.impossible(theirs);
    if (hello.resume === undefined) return undefined;
    return new HawserError(
      'connection_lost',
      `the agent does not know the connection any more: it was started again, or its resumeGraceMs ${this.#options.limits.resumeGraceMs} is over`,
    );
  }

  #refusal(lane: number, hello: Payload<'Hello'>): HawserError | undefined {
    const { limits, token } = this.#options;
    if (lane >= limits.lanesMax)
      return new HawserError('limit_exceeded', `lane ${lane} is not below lanesMax ${limits.lanesMax}`);
    if (token !== undefined && !sameToken(token, hello.token ?? '')) {
      return new HawserError('rejected', 'the token is not the one that this agent was given');
    }
    if (commonGeneration(hello.generations) === undefined) {
      const offered = hello.generations.join(', ');
      return new HawserError(
        'unsupported',
        `no common generation: the host offers ${offered}, the agent speaks ${generations.join(', ')}`,
      );
    }
    if (hello.windowBytes < 1 || hello.frameBytesMax < frameBytesMin) {
      return new HawserError(
        'invalid_argument',
        `windowBytes ${hello.windowBytes} or frameBytesMax ${hello.frameBytesMax} is too small`,
      );
    }
    return undefined;
  }

  #reject(lane: number, error: HawserError, hello?: Payload<'Hello'>): void {
    this.#port.sendGreeting(
      frameTypes.Reject.id,
      lane,
      this.#options.codec.encode('Reject', {
        code: error.code,
        message: error.message,
        connectionKey: hello?.connectionKey,
        attempt: hello?.attempt,
      }),
    );
    this.#options.refused(error);
  }
}

/** Compares in constant time, whatever the lengths. Loads node:crypto only where there is a token: it takes long. */
function sameToken(expected: string, given: string): boolean {
  const { createHash, timingSafeEqual } = process.getBuiltinModule('node:crypto');
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(expected), digest(given));
}
