import { Buffer } from 'node:buffer';
import { HawserError } from '../errors.js';
import { frameTypes } from '../frames/frame-types.js';
import type { Frame } from '../frames/header.js';
import type { Limits } from '../limits.js';
import { frameBytesMin } from '../limits.js';
import type { MessageCodec } from '../messages/codec.js';
import type { Payload } from '../messages/schemas.js';
import type { Agreement } from './connection.js';
import { commonGeneration, generations } from './generations.js';
import type { Port } from './port.js';

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
  /** What a host has to show, where anything. */
  readonly token: string | undefined;
  /** A new host is there. Whoever had this lane before is gone. */
  welcomed(lane: number, agreement: Agreement, hello: Payload<'Hello'>): void;
  /** A host was turned away, or what it sent was no `Hello`. */
  refused(error: HawserError): void;
}

/**
 * The agent's half of the handshake on one line: announces itself, and answers every `Hello`. The
 * same `Hello` again gets the same `Welcome`; one with another key takes the lane over.
 */
export class AgentGreeting {
  readonly #port: Port;
  readonly #options: AgentGreetingOptions;
  readonly #welcomes = new Map<number, { key: Uint8Array; payload: Uint8Array }>();

  constructor(port: Port, options: AgentGreetingOptions) {
    this.#port = port;
    this.#options = options;
  }

  /** Says that an agent is here; to be called whenever the line was opened. */
  announce(): void {
    const { agentVersion, bootId, bootEpoch } = this.#options.identity;
    const ready = this.#options.codec.encode('Ready', {
      agentVersion,
      bootId,
      bootEpoch,
      generations: [...generations],
    });
    this.#port.sendGreeting(frameTypes.Ready.id, 0, ready);
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

  /** The connection of that lane is over: the same `Hello` again is a new one. */
  forget(lane: number): void {
    this.#welcomes.delete(lane);
  }

  #hello(lane: number, hello: Payload<'Hello'>): void {
    const known = this.#welcomes.get(lane);
    if (known !== undefined && Buffer.compare(known.key, hello.connectionKey) === 0) {
      this.#port.sendGreeting(frameTypes.Welcome.id, lane, known.payload);
      return;
    }
    const refusal = this.#refusal(lane, hello);
    if (refusal !== undefined) {
      this.#reject(lane, refusal, hello.connectionKey);
      return;
    }
    const { identity, limits, codec } = this.#options;
    const generation = commonGeneration(hello.generations) as number;
    const checked = hello.checked === true || this.#port.line.mayCorrupt;
    const payload = codec.encode('Welcome', {
      generation,
      connectionKey: hello.connectionKey,
      agentVersion: identity.agentVersion,
      bootId: identity.bootId,
      bootEpoch: identity.bootEpoch,
      windowBytes: limits.stdinWindowBytes,
      frameBytesMax: limits.frameBytesMax,
      checked,
      dataBytesMax: this.#port.line.dataBytesPreferred,
      heartbeatTimeoutMs: limits.heartbeatTimeoutMs,
      sessionsMax: identity.sessionsMax,
      features: [...identity.features],
    });
    // The Welcome goes first: whatever the connection then sends finds a host that knows of it.
    this.#port.sendGreeting(frameTypes.Welcome.id, lane, payload);
    this.#options.welcomed(
      lane,
      {
        generation,
        connectionKey: hello.connectionKey,
        sendWindowBytes: hello.windowBytes,
        receiveWindowBytes: limits.stdinWindowBytes,
        frameBytesMax: hello.frameBytesMax,
        dataBytesMax: hello.frameBytesMax,
        checked,
      },
      hello,
    );
    this.#welcomes.set(lane, { key: hello.connectionKey, payload });
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

  #reject(lane: number, error: HawserError, connectionKey?: Uint8Array): void {
    this.#port.sendGreeting(
      frameTypes.Reject.id,
      lane,
      this.#options.codec.encode('Reject', { code: error.code, message: error.message, connectionKey }),
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
