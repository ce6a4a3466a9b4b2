import { Buffer } from 'node:buffer';
import { HawserError, isErrorCode } from '../errors.js';
import { frameTypes } from '../frames/frame-types.js';
import type { Frame } from '../frames/header.js';
import type { Limits } from '../limits.js';
import { frameBytesMin } from '../limits.js';
import type { MessageCodec } from '../messages/codec.js';
import type { Payload } from '../messages/schemas.js';
import type { Clock } from './clock.js';
import type { Agreement } from './connection.js';
import { generations } from './generations.js';
import type { Port } from './port.js';
import type { Positions } from './positions.js';
import { positionsFromWire, positionsOnWire } from './positions.js';

/** Numbers the Hellos of one connection, over all its greetings and lines. */
export interface HelloAttempts {
  /** The number of the last Hello. */
  sent: number;
  /** That of the newest that was answered: what answers it again, or an older one, is a repetition. */
  answered: number;
}

export interface HostGreetingOptions {
  readonly lane: number;
  readonly limits: Limits;
  readonly codec: MessageCodec;
  readonly clock: Clock;
  /** 16 random bytes. */
  readonly connectionKey: Uint8Array;
  readonly hostVersion: string;
  readonly token?: string | undefined;
  /** Asks that every frame be CHECKED; a line that may corrupt is asked for it anyway. */
  readonly checked: boolean;
  /** Microseconds since 1970. */
  readonly wallClockUs: () => number;
  /** How long the agent should keep the connection when it has no line, ms; its own limit unless given. */
  readonly graceMs?: number | undefined;
  /** The connection that is to go on; nothing for a new one. Asked before each `Hello`. */
  readonly resume?: (() => Positions) | undefined;
  /** The agent has just said `Ready`, which is why it is greeted. */
  readonly announced?: boolean | undefined;
  /** Of the connection that is to go on; its own count for a new one. */
  readonly attempts?: HelloAttempts | undefined;
  /**
   * An answer came. When a connection goes on, every Hello of it that an agent answers makes both ends go on from
   * the positions in that pair, so this is called again for each that was sent before the first answer came.
   *
   * @param theirs where the agent is, if it knew the connection.
   */
  welcomed(agreement: Agreement, welcome: Payload<'Welcome'>, theirs: Positions): void;
  /** No connection came of it. */
  failed(error: HawserError): void;
}

/**
 * The host's half of the handshake: offers `Hello` at once, whenever the agent says `Ready`, and
 * again at a growing interval, until a `Welcome` for its key (or a `Reject`) comes. What the line
 * held before does not matter.
 */
export class HostGreeting {
  readonly #port: Port;
  readonly #options: HostGreetingOptions;
  readonly #startedAt: number;
  #intervalMs: number;
  #cancelTimer: (() => void) | undefined;
  /** `answered`: goes on listening for the answers to Hellos that were sent after the one answered. */
  #state: 'greeting' | 'answered' | 'done' = 'greeting';
  #fillersSent = 0;
  /** The agent has just opened the line: no half of a frame can be waiting there. */
  #announced: boolean;
  #hellosSent = 0;
  #saidAt = 0;
  readonly #attempts: HelloAttempts;
  /** Hellos that came back, or came of another host. */
  #hellosSeen = 0;

  constructor(port: Port, options: HostGreetingOptions) {
    this.#port = port;
    this.#options = options;
    this.#announced = options.announced ?? false;
    this.#startedAt = options.clock.now();
    const slow = options.resume !== undefined && port.line.mayCorrupt;
    this.#intervalMs = slow ? options.limits.helloAgainIntervalMs : options.limits.helloIntervalMs;
    this.#attempts = options.attempts ?? { sent: 0, answered: 0 };
    this.#sayHello();
    this.#sayHelloLater();
  }

  /** A greeting frame of this lane. */
  frame(frame: Frame): void {
    if (this.#state === 'done') return;
    switch (frame.type) {
      case frameTypes.Ready.id:
        this.#announced = true;
        if (this.#state === 'greeting' && this.#readyIsNew()) this.#sayHello();
        return;
      case frameTypes.Welcome.id:
        this.#decoded('Welcome', frame, (welcome) => this.#welcome(welcome));
        return;
      case frameTypes.Reject.id:
        this.#decoded('Reject', frame, (reject) => this.#rejected(reject));
        return;
      default:
        // Not an agent's. A terminal that still echoes sends us our own Hello, until the agent has opened it.
        this.#hellosSeen++;
    }
  }

  /** The agent was reached: a `Ready` that comes now asks for another greeting. */
  get answered(): boolean {
    return this.#state !== 'greeting';
  }

  /** Gives up: nothing is called afterwards. */
  stop(): void {
    this.#state = 'done';
    this.#cancelTimer?.();
  }

  /**
   * A `Ready` that crossed our Hello asks for nothing that the agent does not get. Each Hello makes a connection
   * go on anew, and what was sent since the last is sent twice; a new one may as well be said once too often.
   */
  #readyIsNew(): boolean {
    if (this.#port.greetingWaits) return false;
    return (
      this.#options.resume === undefined ||
      this.#options.clock.now() - this.#saidAt >= this.#options.limits.helloIntervalMs / 2
    );
  }

  #sayHello(): void {
    this.#saidAt = this.#options.clock.now();
    this.#hellosSent++;
    const attempt = ++this.#attempts.sent;
    const { codec, limits, connectionKey, hostVersion, token } = this.#options;
    const hello: Payload<'Hello'> = {
      generations: [...generations],
      connectionKey,
      hostVersion,
      token,
      windowBytes: limits.windowBytes,
      frameBytesMax: limits.frameBytesMax,
      checked: this.#options.checked || this.#port.line.mayCorrupt,
      wallClockUs: this.#options.wallClockUs(),
      attempt,
      graceMs: this.#options.graceMs,
      resume: this.#resumption(),
    };

    this.#port.sendGreeting(frameTypes.Hello.id, this.#options.lane, codec.encode('Hello', hello));
  }

  #resumption(): Payload<'Hello'>['resume'] {
    const { resume } = this.#options;
    return resume === undefined ? undefined : positionsOnWire(resume());
  }

  #sayHelloLater(): void {
    const { clock, limits } = this.#options;
    this.#cancelTimer = clock.after(this.#intervalMs, () => {
      const waitedMs = clock.now() - this.#startedAt;
      if (waitedMs >= limits.handshakeTimeoutMs) {
        const heard =
          this.#hellosSeen > 0 ? `, only ${this.#hellosSeen} Hello: a host, or an echo of our own` : '';
        const text = `no agent answered on ${this.#port.line.name} within handshakeTimeoutMs ${limits.handshakeTimeoutMs}`;
        this.#fail(new HawserError('handshake_timeout', text + heard));
        return;
      }
      this.#intervalMs = Math.min(this.#intervalMs * 2, limits.helloIntervalMaxMs);
      // What a slow line has not taken yet, nobody can have answered.
      if (!this.#port.greetingWaits) {
        this.#fill();
        this.#sayHello();
      }
      this.#sayHelloLater();
    });
  }

  /** Whoever held the line before may have left half a frame on it, and the agent waits for the rest: here it is. */
  #fill(): void {
    const { line } = this.#port;
    // Behind a socket there may be a serial port, too, as QEMU has it: silence tells.
    if (!line.mayCorrupt && this.#hellosSent < hellosOnSoundLine) return;
    const step = this.#fillersSent++;
    // Where nobody was ever heard, nothing may be there yet: what is sent to a guest that boots it has to
    // read first, and a serial port is slow. A kernel's boot messages are no sign of an agent.
    if (step >= fillersUnheard && this.#port.counters.framesIn === 0) return;
    // Half a Hello of ours is the most that an agent can wait for that has just come. It may only be slow: a
    // serial port would be busy for a minute with more than the least.
    const least = step === 0 || this.#announced ? line.dataBytesPreferred + fillerBytesMin : fillerBytesMax;
    const usual = this.#announced ? fillerBytes[0] : fillerBytes[Math.max(0, step - 1)];
    this.#port.sendUnasked(new Uint8Array(Math.min(least, usual ?? fillerBytesMax)));
  }

  #decoded<N extends 'Welcome' | 'Reject'>(name: N, frame: Frame, then: (body: Payload<N>) => void): void {
    let body: Payload<N>;
    try {
      body = this.#options.codec.decode(name, frame.payload);
    } catch (error) {
      this.#fail(error as HawserError);
      return;
    }
    then(body);
  }

  #welcome(welcome: Payload<'Welcome'>): void {
    // An answer to somebody who held this line before us is not ours.
    if (!this.#isOurs(welcome)) return;
    if (!(generations as readonly number[]).includes(welcome.generation)) {
      this.#fail(
        new HawserError(
          'unsupported',
          `the agent chose generation ${welcome.generation}, which was not offered`,
        ),
      );
      return;
    }
    if (welcome.windowBytes < 1 || welcome.frameBytesMax < frameBytesMin) {
      const text = `windowBytes ${welcome.windowBytes} or frameBytesMax ${welcome.frameBytesMax} is too small`;
      this.#fail(new HawserError('protocol_violation', `the agent's ${text}`));
      return;
    }
    const { attempts, limits, connectionKey } = this.#options;
    this.#attempts.answered = Math.max(this.#attempts.answered, welcome.attempt ?? this.#attempts.sent);
    this.#cancelTimer?.();
    this.#state =
      attempts === undefined || this.#attempts.answered >= this.#attempts.sent ? 'done' : 'answered';
    this.#options.welcomed(
      {
        generation: welcome.generation,
        connectionKey,
        sendWindowBytes: welcome.windowBytes,
        receiveWindowBytes: limits.windowBytes,
        frameBytesMax: welcome.frameBytesMax,
        dataBytesMax: Math.min(
          welcome.frameBytesMax,
          Math.max(welcome.dataBytesMax ?? welcome.frameBytesMax, 1),
        ),
        checked: welcome.checked || this.#port.line.mayCorrupt,
        graceMs: welcome.graceMs ?? 0,
      },
      welcome,
      positionsFromWire(welcome.resume),
    );
  }

  /** Not an answer to somebody who held this line before us, or one that came before: its positions are old. */
  #isOurs({
    connectionKey,
    attempt,
  }: {
    connectionKey?: Uint8Array | undefined;
    attempt?: number | undefined;
  }): boolean {
    if (connectionKey !== undefined && Buffer.compare(connectionKey, this.#options.connectionKey) !== 0)
      return false;
    // A new connection has no positions yet: any answer will do.
    return this.#options.resume === undefined || attempt === undefined || attempt > this.#attempts.answered;
  }

  #rejected(reject: Payload<'Reject'>): void {
    if (!this.#isOurs(reject)) return;
    const code = isErrorCode(reject.code) ? reject.code : 'rejected';
    this.#fail(new HawserError(code, `the agent refused: ${reject.message}`));
  }

  #fail(error: HawserError): void {
    if (this.#state === 'done') return;
    this.stop();
    this.#options.failed(error);
  }
}

/** On a line that loses nothing, so many Hellos go unanswered before there is filler. */
export const hellosOnSoundLine = 2;
/**
 * Zeros before a repeated Hello, bytes: at first as much as a data frame of this line and a bit, which a slow line
 * has behind it in a tenth of a second; then more than a data frame to a serial port, to a virtio-serial port, to
 * anybody, and a large message.
 */
export const fillerBytes = [6 * 1024, 40 * 1024, 160 * 1024, 640 * 1024] as const;
const fillerBytesMin = 1024;
const fillerBytesMax = 1024 * 1024;
/** As long as nothing was ever heard, only so many of these. */
export const fillersUnheard = 2;
