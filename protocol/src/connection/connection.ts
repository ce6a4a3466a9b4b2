import { HawserError } from '../errors.js';
import type { MessageFrameName } from '../frames/frame-types.js';
import { frameTypeName, frameTypes } from '../frames/frame-types.js';
import type { Frame } from '../frames/header.js';
import {
  encodeFrame,
  frameFlags,
  headerBytes,
  offsetMax,
  readOffset,
  restampFrame,
  sealFrame,
  writeOffset,
} from '../frames/header.js';
import type { Limits } from '../limits.js';
import type { MessageCodec } from '../messages/codec.js';
import type { Payload } from '../messages/schemas.js';
import type { SpoolBudget } from '../spool.js';
import { Spool } from '../spool.js';
import { Channel } from './channel.js';
import type { Clock } from './clock.js';
import { MessageLog } from './message-log.js';
import type { Port, PortClient } from './port.js';
import type { Positions, StreamPosition } from './positions.js';
import type { ReceiveStream } from './receive-stream.js';
import type { SendStream } from './send-stream.js';

/** A message that came in. `number` is what a reply names as `re`. */
export type Message = {
  [N in MessageFrameName]: { readonly name: N; readonly number: number; readonly body: Payload<N> };
}[MessageFrameName];

/** Something of the other side's that was wrong or unknown; the connection goes on. */
export type ConnectionNotice =
  | { readonly kind: 'unknown_type'; readonly type: number }
  | { readonly kind: 'message_invalid'; readonly error: HawserError }
  | { readonly kind: 'stale_channel'; readonly channel: number };

export interface ConnectionHandler {
  /** A message on a channel that is not open: a request. */
  request(channel: number, message: Message): void;
  notice(notice: ConnectionNotice): void;
  /**
   * Something was lost on the line, or may have been: the ends have to greet each other again, and
   * nothing is sent before `resume`. May be called again only after that.
   */
  doubtful(reason: HawserError): void;
  /** There is no line any more: whoever owns the connection resumes it on another, or ends it. */
  suspended(reason: HawserError): void;
  /** The connection is over, for the reason given; nothing follows. */
  closed(error: HawserError): void;
  /**
   * Handling a frame has thrown, which is a fault of this end. Where it was a `message`, whoever sent it is to be
   * answered; after any other the connection ends. Without this handler it is thrown on, to who reads the line.
   */
  fault?(error: unknown, message: Message | undefined, channel: number): void;
}

export interface ChannelHandler {
  message(message: Message): void;
  /** The connection is over. The channel's streams are gone. */
  closed(error: HawserError): void;
}

/** What both ends agreed on in their greeting. */
export interface Agreement {
  readonly generation: number;
  readonly connectionKey: Uint8Array;
  /** Credit in advance for each stream that this end sends, and for each that it receives, bytes. */
  readonly sendWindowBytes: number;
  readonly receiveWindowBytes: number;
  /** Largest payload that the other end takes. */
  readonly frameBytesMax: number;
  /** Largest payload of a data frame to the other end, bytes. */
  readonly dataBytesMax: number;
  readonly checked: boolean;
  /** How long the agent keeps the connection when it has no line, ms. */
  readonly graceMs: number;
}

export interface ConnectionOptions {
  readonly lane: number;
  readonly agreement: Agreement;
  readonly limits: Limits;
  readonly codec: MessageCodec;
  readonly clock: Clock;
  readonly budget: SpoolBudget;
  readonly handler: ConnectionHandler;
}

/**
 * - open: greeted, on a line.
 * - doubtful: on a line on which something was lost; it listens, and says nothing before it is resumed.
 * - suspended: without a line.
 */
type ConnectionState =
  | { at: 'open'; port: Port }
  | { at: 'doubtful'; port: Port }
  | { at: 'suspended' }
  | { at: 'closed'; error: HawserError };

/**
 * One conversation between a host and an agent, the same class at both ends: numbered messages,
 * streams with credit, acknowledgement, heartbeat. It sends through a port, which takes from
 * `nextUrgent` and `nextStream` what may go next.
 *
 * It outlives its line: messages are kept until they are acknowledged and bytes until they are consumed,
 * and `resume` goes on with them from where the other end says it is.
 */
export class Connection implements PortClient {
  #lane: number;
  #agreement: Agreement;
  readonly #limits: Limits;
  readonly #codec: MessageCodec;
  readonly #clock: Clock;
  readonly #budget: SpoolBudget;
  readonly #handler: ConnectionHandler;
  readonly #log: MessageLog;
  readonly #channels = new Map<number, Channel>();
  #channelNumberMax = 0;
  /** The highest channel that was opened here, or that a message came on. */
  #channelHeardMax = 0;
  readonly #links: Uint8Array[] = [];
  #messages: Uint8Array[] = [];
  readonly #streams: SendStream[] = [];
  readonly #credits: ReceiveStream[] = [];
  #state: ConnectionState;
  #cancelAckTimer: (() => void) | undefined;
  #cancelHeartbeat: (() => void) | undefined;
  #cancelProbe: (() => void) | undefined;
  #cancelDoubt: (() => void) | undefined;
  /** Number of the newest Hello that it has gone on with, at the agent's end. */
  #attempt = 0;
  /** When it came onto its line. */
  #attachedAt = 0;
  /** Something came since the heartbeat last looked. */
  #heard = false;
  /** For how long nothing had come when it last looked. */
  #silentMs = 0;
  #pingNonce = 0;
  /** The oldest message that was not acknowledged when it was last looked for what is overdue. */
  #overdue: Uint8Array | undefined;
  readonly #pings = new Map<
    number,
    { sentAt: number; resolve: (ms: number) => void; reject: (error: HawserError) => void }
  >();

  constructor(port: Port, options: ConnectionOptions) {
    this.#lane = options.lane;
    this.#agreement = options.agreement;
    this.#limits = options.limits;
    this.#codec = options.codec;
    this.#clock = options.clock;
    this.#budget = options.budget;
    this.#handler = options.handler;
    this.#log = new MessageLog(options.limits);

    this.#state = { at: 'open', port };
    this.#attached(port);
  }

  /** The other end is there, or may come back: what is sent is not lost. */
  get open(): boolean {
    return this.#state.at !== 'closed';
  }

  /** On a line, and in no doubt about it. */
  get connected(): boolean {
    return this.#state.at === 'open';
  }

  /** The line that it is on, where it is on one. */
  get port(): Port | undefined {
    return this.#state.at === 'open' || this.#state.at === 'doubtful' ? this.#state.port : undefined;
  }

  /** Messages that the other end has not acknowledged. */
  get unacknowledged(): number {
    return this.#log.unacked.length;
  }

  get lane(): number {
    return this.#lane;
  }

  get agreement(): Agreement {
    return this.#agreement;
  }

  get checked(): boolean {
    return this.agreement.checked;
  }

  get dataBytesMax(): number {
    return this.agreement.dataBytesMax;
  }

  get channelCount(): number {
    return this.#channels.size;
  }

  /**
   * Opens a channel: from now on its messages go to `handler`.
   *
   * @throws HawserError `limit_exceeded` beyond `channelsMax`, `invalid_argument` for a number that
   *   was used before, `connection_closed` afterwards.
   */
  openChannel(number: number, handler: ChannelHandler): Channel {
    if (this.#state.at === 'closed') {
      throw new HawserError('connection_closed', 'the connection is closed', { cause: this.#state.error });
    }
    if (this.#channels.size >= this.#limits.channelsMax) {
      throw new HawserError(
        'limit_exceeded',
        `${this.#channels.size} channels are open (channelsMax ${this.#limits.channelsMax})`,
      );
    }
    if (this.#channels.has(number) || (number !== 0 && number <= this.#channelNumberMax)) {
      throw new HawserError(
        'invalid_argument',
        `channel ${number} was used before (highest so far: ${this.#channelNumberMax})`,
      );
    }
    const channel = new Channel(this, number, handler);
    this.#channels.set(number, channel);
    this.#channelNumberMax = Math.max(this.#channelNumberMax, number);
    this.#channelHeardMax = Math.max(this.#channelHeardMax, number);
    return channel;
  }

  /**
   * Sends a message. It leaves when what happens now has happened.
   *
   * @returns its number, which the reply names.
   * @throws HawserError `connection_closed`; for a request also `frame_too_large`, `limit_exceeded`.
   *   An answer has nobody to whom that could be thrown: one that is too large is cut or becomes a
   *   `Failure`, and one too many for a peer that does not acknowledge ends the connection.
   */
  send<N extends MessageFrameName>(channel: number, name: N, body: Payload<N>): number {
    if (this.#state.at === 'closed') {
      throw new HawserError('connection_closed', 'the connection is closed', { cause: this.#state.error });
    }
    const frame = this.#codec.encode(name, body, headerBytes);
    const payloadBytes = frame.length - headerBytes;
    const number = this.#log.nextNumber;
    if (payloadBytes > this.agreement.frameBytesMax) {
      const text = `${name} of ${payloadBytes} bytes exceeds frameBytesMax ${this.agreement.frameBytesMax}`;
      if (requests.has(name)) throw new HawserError('frame_too_large', text);
      return this.#sendShortened(channel, name, body, text);
    }
    const full = this.#log.full(payloadBytes);
    if (full !== undefined) {
      if (requests.has(name)) throw full;
      this.#fail(full);
      return number;
    }
    sealFrame(frame, {
      type: frameTypes[name].id,
      flags: this.checked ? frameFlags.CHECKED : 0,
      lane: this.lane,
      channel,
      offset: number,
    });
    this.#log.sent(frame);
    this.#messages.push(frame);
    this.#requestFlush();
    return number;
  }

  /** What was sent in this turn leaves now, and not only when it is over: see `Port.flush`. */
  flush(): void {
    if (this.#state.at === 'open') this.#state.port.flush();
  }

  /** Whether the other side takes a message of that size. */
  takes<N extends MessageFrameName>(name: N, body: Payload<N>): boolean {
    return this.#codec.encode(name, body).length <= this.agreement.frameBytesMax;
  }

  /** An answer that the other side does not take is one that it does. */
  #sendShortened(channel: number, name: MessageFrameName, body: object, text: string): number {
    if ('message' in body && typeof body.message === 'string' && body.message.length > shortTextMax) {
      return this.send(channel, name, {
        ...body,
        message: `${body.message.slice(0, shortTextMax)}…`,
      });
    }
    const failure: Payload<'Failure'> = { code: 'frame_too_large', message: text };
    if ('re' in body && typeof body.re === 'number') failure.re = body.re;
    return this.send(channel, 'Failure', failure);
  }

  /** Measures a round trip. @returns milliseconds. @throws HawserError when the connection ends first. */
  ping(): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.#state.at === 'closed') return reject(this.#state.error);
      this.#pings.set(this.#sendPing(), { sentAt: this.#clock.now(), resolve, reject });
    });
  }

  /** Says goodbye and ends the connection at this end. The line stays its owner's. */
  close(reason?: HawserError): void {
    const port = this.port;
    if (port !== undefined) {
      for (let frame = this.nextUrgent(); frame !== undefined; frame = this.nextUrgent())
        port.sendLast(frame);
      port.sendLast(this.#bye(reason));
    }
    this.#end(reason ?? new HawserError('connection_closed', 'the connection was closed'));
  }

  /** Ends the connection without a word: there is nobody to hear it. */
  end(error: HawserError): void {
    this.#end(error);
  }

  // Resuming

  /** How far this end has received everything. The credit in it counts as told. */
  takePositions(): Positions {
    const streams: StreamPosition[] = [];
    for (const channel of this.#channels.values()) {
      for (const stream of channel.receiveStreams)
        streams.push({ channel: channel.number, typeId: stream.typeId, ...stream.takePosition() });
    }
    for (const stream of this.#credits.splice(0)) stream.queued = false;
    return { received: this.#log.takeAck(), streams };
  }

  /** Whether a Hello of that number, or a later one, made this end go on already. */
  isRepeated(attempt: number | undefined): boolean {
    return attempt !== undefined && attempt <= this.#attempt;
  }

  /** @returns what is wrong with the positions of somebody who claims to be the other end. */
  impossible({ received, streams }: Positions): HawserError | undefined {
    const wrong = (what: string): HawserError =>
      new HawserError('protocol_violation', `the other side cannot be at ${what}`);
    if (!this.#log.possible(received)) return wrong(`message ${received}`);
    for (const position of streams) {
      const stream = this.#channels.get(position.channel)?.sending(position.typeId);
      if (stream?.possible(position) === false)
        return wrong(`byte ${position.received} of a stream of channel ${position.channel}`);
    }
    return undefined;
  }

  /**
   * Goes on over `port`, which may be the one that it had, from where the other end is: what that lacks is
   * sent again. For positions that `impossible` found nothing wrong with.
   *
   * @param attempt number of the Hello that they come from, at the agent's end.
   */
  resume(port: Port, lane: number, agreement: Agreement, theirs: Positions, attempt = 0): void {
    if (this.#state.at === 'closed') return;
    this.#attempt = Math.max(this.#attempt, attempt);
    this.#leavePort();
    this.#lane = lane;
    this.#agreement = agreement;
    this.#state = { at: 'open', port };
    this.#attached(port);
    this.#links.length = 0;
    this.#log.acknowledged(theirs.received);
    this.#messages = [...this.#log.unacked];
    for (const frame of this.#messages) restampFrame(frame, lane, this.checked);
    const positions = new Map(theirs.streams.map((one) => [one.channel * 256 + one.typeId, one]));
    for (const channel of this.#channels.values())
      for (const stream of channel.sendStreams)
        stream.resume(positions.get(channel.number * 256 + stream.typeId));
    for (const nonce of this.#pings.keys()) this.#links.push(this.#encodeLink('Ping', 0, nonce, nothing));
    this.#requestFlush();
  }

  #attached(port: Port): void {
    this.#heard = false;
    this.#silentMs = 0;
    this.#overdue = undefined;
    this.#attachedAt = this.#clock.now();
    port.acceptFullFrames();
    port.attach(this.lane, this);
    this.#scheduleHeartbeat();
    this.#scheduleProbe();
  }

  #leavePort(): void {
    this.port?.detach(this.lane, this);
    this.#cancelAckTimer?.();
    this.#cancelAckTimer = undefined;
    this.#cancelHeartbeat?.();
    this.#cancelProbe?.();
    this.#cancelDoubt?.();
    this.#cancelDoubt = undefined;
  }

  /** Something did not come, or may not have come. */
  #doubt(reason: HawserError): void {
    if (this.#state.at !== 'open') return;
    this.#state = { at: 'doubtful', port: this.#state.port };
    this.#handler.doubtful(reason);
  }

  #suspend(reason: HawserError): void {
    if (this.#state.at === 'closed' || this.#state.at === 'suspended') return;
    this.#leavePort();
    this.#state = { at: 'suspended' };
    this.#handler.suspended(reason);
  }

  // What the port calls

  heard(): void {
    this.#heard = true;
  }

  /**
   * What was skipped may have been noise between two frames, or the last frame of a stream, behind which
   * nothing comes that would show the loss. On a line that is never quiet that must not be all that happens.
   */
  skipped(bytes: number): void {
    if (this.#state.at !== 'open' || this.#cancelDoubt !== undefined) return;
    const reason = new HawserError('line_corrupt', `${bytes} bytes that came are no frame`);
    const waitMs = this.#attachedAt + this.#limits.doubtIntervalMs - this.#clock.now();
    if (waitMs <= 0) {
      this.#doubt(reason);
      return;
    }
    this.#cancelDoubt = this.#clock.after(waitMs, () => {
      this.#cancelDoubt = undefined;
      this.#doubt(reason);
    });
  }

  frame(frame: Frame): boolean {
    this.#heard = true;
    try {
      return this.#dispatch(frame);
    } catch (error) {
      if (this.#handler.fault === undefined) throw error;
      this.#handler.fault(error, undefined, frame.channel);
      this.#fail(
        new HawserError('internal', `a frame could not be handled: ${String(error)}`, { cause: error }),
      );
      return false;
    }
  }

  #dispatch(frame: Frame): boolean {
    const name = frameTypeName(frame.type);
    if (name === undefined) {
      this.#unknownType(frame);
      return true;
    }
    switch (frameTypes[name].class) {
      case 'link':
        this.#link(frame);
        return true;
      case 'message':
        this.#message(name as MessageFrameName, frame);
        return true;
      case 'data':
        return this.#data(frame);
    }
  }

  nextUrgent(): Uint8Array | undefined {
    if (this.#state.at !== 'open') return undefined;
    // Whatever leaves takes along what is owed anyway.
    return this.#links.shift() ?? this.#creditFrame() ?? this.#ackFrame() ?? this.#messages.shift();
  }

  nextStream(): SendStream | undefined {
    while (this.#state.at === 'open') {
      const stream = this.#streams.shift();
      if (stream === undefined) return undefined;
      stream.queued = false;
      if (!stream.ready()) continue;
      // It goes to the end of the queue: the port takes one frame now, and the rest in its next turn.
      stream.queued = true;
      this.#streams.push(stream);
      return stream;
    }
    return undefined;
  }

  lineClosed(error: HawserError): void {
    this.#suspend(error);
  }

  // What streams and channels call

  /** @internal */
  streamReady(stream: SendStream): void {
    if (this.#state.at === 'closed') return;
    if (!stream.queued) {
      stream.queued = true;
      this.#streams.push(stream);
    }
    this.#requestFlush();
  }

  /** @internal */
  creditDue(stream: ReceiveStream, urgent: boolean): void {
    if (this.#state.at === 'closed') return;
    if (!stream.queued) {
      stream.queued = true;
      this.#credits.push(stream);
    }
    if (urgent) this.#requestFlush();
    else this.#owe();
  }

  /** @internal */
  newSpool(bytesMax: number, from = 0): Spool {
    return new Spool(this.#budget, this, bytesMax, from);
  }

  /** @internal */
  releaseChannel(channel: Channel): void {
    this.#channels.delete(channel.number);
  }

  // Incoming

  #link(frame: Frame): void {
    switch (frame.type) {
      case frameTypes.Ping.id:
        // Who asks without reading the answers gets no more of them.
        if (this.#links.length >= linksMax) return;
        this.#links.push(this.#encodeLink('Pong', 0, frame.offset, nothing));
        this.#requestFlush();
        return;
      case frameTypes.Pong.id: {
        const ping = this.#pings.get(frame.offset);
        this.#pings.delete(frame.offset);
        ping?.resolve(this.#clock.now() - ping.sentAt);
        return;
      }
      case frameTypes.Ack.id:
        if (!this.#log.acknowledged(frame.offset))
          this.#violation(`Ack of message ${frame.offset}, which was never sent`);
        return;
      case frameTypes.Credit.id:
        this.#credit(frame);
        return;
      case frameTypes.Bye.id:
        this.#goodbye(frame);
        return;
      default:
        this.#unknownType(frame);
    }
  }

  #goodbye(frame: Frame): void {
    let message = 'the other side closed the connection';
    try {
      const body = this.#codec.decode('Bye', frame.payload);
      if (body.message !== undefined) message += `: ${body.message}`;
    } catch {
      // A goodbye is one whatever it says.
    }
    this.#end(new HawserError('connection_closed', message));
  }

  #credit(frame: Frame): void {
    if (frame.payload.length < creditPayloadBytes) {
      this.#violation(`Credit with a payload of ${frame.payload.length} bytes`);
      return;
    }
    const stream = this.#channels.get(frame.channel)?.sending(frame.payload[0] as number);
    if (stream === undefined) return; // of a stream that is done with: repeats are harmless
    const finished = (frame.flags & frameFlags.FIN) !== 0;
    if (!stream.credit(frame.offset, readOffset(frame.payload, 1), finished)) {
      this.#violation(`Credit ${frame.offset} on channel ${frame.channel} is for bytes that were never sent`);
    }
  }

  #message(name: MessageFrameName, frame: Frame): void {
    if (!this.#accept(name, frame)) return;
    this.#handle(name, frame);
    this.#acknowledge();
  }

  #handle(name: MessageFrameName, frame: Frame): void {
    let body: Payload<MessageFrameName>;
    try {
      body = this.#codec.decode(name, frame.payload);
    } catch (error) {
      this.#refuse(frame, error as HawserError);
      return;
    }
    const message = { name, number: frame.offset, body } as Message;
    this.#channelHeardMax = Math.max(this.#channelHeardMax, frame.channel);
    const channel = this.#channels.get(frame.channel);
    try {
      if (channel !== undefined) channel.handler.message(message);
      else this.#handler.request(frame.channel, message);
    } catch (error) {
      if (this.#handler.fault === undefined) throw error;
      this.#handler.fault(error, message, frame.channel);
    }
  }

  /** @returns whether it is the next message, which is to be acknowledged when it was handled. */
  #accept(name: string, frame: Frame): boolean {
    const verdict = this.#log.accept(frame.offset);
    if (verdict === 'missing') {
      const missing = this.#log.received + 1;
      this.#doubt(
        new HawserError('line_corrupt', `message ${missing} was lost: ${name} ${frame.offset} came instead`),
      );
      return false;
    }
    if (verdict === 'repeat') this.#acknowledge();
    return verdict === 'next';
  }

  #acknowledge(): void {
    if (this.#log.ackDue >= this.#limits.ackMessagesMax) this.#requestFlush();
    else this.#owe();
  }

  /** A message that cannot be taken: the one who sent it is told, unless it is itself a reply. */
  #refuse(frame: Frame, error: HawserError): void {
    this.#handler.notice({ kind: 'message_invalid', error });
    if (frame.type === frameTypes.Failure.id || frame.type === frameTypes.Done.id) return;
    this.send(frame.channel, 'Failure', { re: frame.offset, code: error.code, message: error.message });
  }

  #data(frame: Frame): boolean {
    const channel = this.#channels.get(frame.channel);
    const stream = channel?.receiving(frame.type);
    const fin = (frame.flags & frameFlags.FIN) !== 0;
    if (stream === undefined) {
      this.#handler.notice({ kind: 'stale_channel', channel: frame.channel });
      // Of a channel that was never heard of, or has no stream yet, the message that opens it was lost and will come again.
      const early = channel === undefined ? frame.channel > this.#channelHeardMax : !channel.hasStreams;
      if (fin && !early) this.#consumedAll(frame);
      return true;
    }
    const gap = (frame.flags & frameFlags.GAP) !== 0;
    const result = stream.frame(frame.offset, frame.payload, fin, gap);
    if (typeof result === 'boolean') return result;
    const what = `${frame.payload.length} bytes at ${frame.offset} of channel ${frame.channel}`;
    switch (result) {
      case 'missing_bytes':
        this.#doubt(
          new HawserError(
            'line_corrupt',
            `bytes from ${stream.receivedBytes} on were lost: ${what} came instead`,
          ),
        );
        break;
      case 'beyond_credit':
        this.#violation(`${what} exceed the credit that was given`);
        break;
      case 'after_end':
        this.#violation(`${what} came after the stream's end`);
        break;
    }
    return true;
  }

  /** The end of a stream that is done with here: its sender, who may have missed that, need not wait. */
  #consumedAll(frame: Frame): void {
    const end = frame.offset + frame.payload.length;
    if (end > offsetMax || this.#links.length >= linksMax) return;
    this.#links.push(this.#encodeCredit(frame.channel, frame.type, end, end, true));
    this.#requestFlush();
  }

  #unknownType(frame: Frame): void {
    this.#handler.notice({ kind: 'unknown_type', type: frame.type });
    if (frame.type < 0x20 || frame.type >= 0x80) return;
    // A message of a later generation still has a number, and its sender waits for a reply.
    if (!this.#accept(`type 0x${frame.type.toString(16)}`, frame)) return;
    this.send(frame.channel, 'Failure', {
      re: frame.offset,
      code: 'unsupported',
      message: `message type 0x${frame.type.toString(16)} is not known to generation ${this.agreement.generation}`,
    });
    this.#acknowledge();
  }

  #violation(message: string): void {
    this.#fail(new HawserError('protocol_violation', message));
  }

  /** The other side, or the line, cannot be relied on: ends the connection and says why, and nothing else. */
  #fail(error: HawserError): void {
    this.port?.sendUnasked(this.#bye(error));
    this.#end(error);
  }

  // Outgoing

  #requestFlush(): void {
    if (this.#state.at === 'open') this.#state.port.requestFlush();
  }

  /** Acknowledgements and last credits go with the next frame, or by themselves a little later. */
  #owe(): void {
    if (this.#cancelAckTimer !== undefined || this.#state.at !== 'open' || this.#state.port.flushDue) return;
    this.#cancelAckTimer = this.#clock.after(this.#limits.ackDelayMs, () => {
      this.#cancelAckTimer = undefined;
      this.#requestFlush();
    });
  }

  #creditFrame(): Uint8Array | undefined {
    const stream = this.#credits.shift();
    if (stream === undefined) return undefined;
    stream.queued = false;
    return this.#encodeCredit(
      stream.channel,
      stream.typeId,
      stream.takeLimit(),
      stream.consumedBytes,
      stream.finished,
    );
  }

  #encodeCredit(
    channel: number,
    typeId: number,
    limit: number,
    consumed: number,
    finished: boolean,
  ): Uint8Array {
    const flags = (this.checked ? frameFlags.CHECKED : 0) | (finished ? frameFlags.FIN : 0);
    const frame = Buffer.allocUnsafe(headerBytes + creditPayloadBytes);
    frame[headerBytes] = typeId;
    writeOffset(frame, headerBytes + 1, consumed);
    sealFrame(frame, { type: frameTypes.Credit.id, flags, lane: this.lane, channel, offset: limit });
    return frame;
  }

  #bye(reason: HawserError | undefined): Uint8Array {
    const body: Payload<'Bye'> =
      reason === undefined ? {} : { code: reason.code, message: reason.message.slice(0, shortTextMax) };
    return this.#encodeLink('Bye', 0, 0, this.#codec.encode('Bye', body));
  }

  #ackFrame(): Uint8Array | undefined {
    if (this.#log.ackDue === 0) return undefined;
    return this.#encodeLink('Ack', 0, this.#log.takeAck(), nothing);
  }

  #encodeLink(
    name: 'Ping' | 'Pong' | 'Ack' | 'Credit' | 'Bye',
    channel: number,
    offset: number,
    payload: Uint8Array,
    flags = 0,
  ): Uint8Array {
    const all = this.checked ? flags | frameFlags.CHECKED : flags;
    return encodeFrame({ type: frameTypes[name].id, flags: all, lane: this.lane, channel, offset, payload });
  }

  #sendPing(): number {
    const nonce = ++this.#pingNonce;
    this.#links.push(this.#encodeLink('Ping', 0, nonce, nothing));
    this.#requestFlush();
    return nonce;
  }

  /**
   * Silence is counted in intervals in which nothing came, not by the clock: a process that was itself
   * stopped for a while, or a guest that was restored, has not heard the other side fall silent.
   */
  #scheduleHeartbeat(): void {
    this.#cancelHeartbeat = this.#clock.after(this.#limits.heartbeatIntervalMs, () => {
      this.#budget.settle(this.#clock.now());
      this.#silentMs = this.#heard ? 0 : this.#silentMs + this.#limits.heartbeatIntervalMs;
      this.#heard = false;
      // Nobody is given up who was not asked.
      const limit = Math.max(this.#limits.heartbeatTimeoutMs, 2 * this.#limits.heartbeatIntervalMs);
      if (this.#silentMs >= limit) {
        this.#suspend(
          new HawserError(
            'heartbeat_lost',
            `nothing was heard for ${this.#silentMs} ms (heartbeatTimeoutMs ${limit})`,
          ),
        );
        return;
      }
      if (this.#silentMs > 0) this.#sendPing();
      this.#scheduleHeartbeat();
    });
  }

  /**
   * On a line that may lose something, asks for the answers that are overdue: so nothing waits for long. Behind
   * a relay there may be such a line too: its agent wants every frame CHECKED.
   */
  #scheduleProbe(): void {
    if (this.port?.line.mayCorrupt !== true && !this.checked) return;
    this.#cancelProbe = this.#clock.after(this.#limits.probeIntervalMs, () => {
      this.#probe();
      this.#requestFlush();
      this.#scheduleProbe();
    });
  }

  #probe(): void {
    // What the line has not taken yet is not overdue.
    if (this.#state.at !== 'open' || this.#links.length > 0) return;
    const message = this.#log.oldestUnacked;
    if (message !== undefined && message === this.#overdue) this.#links.push(message);
    const overdueFrom = this.#clock.now() - this.#limits.probeIntervalMs;
    for (const [nonce, { sentAt }] of this.#pings) {
      if (sentAt <= overdueFrom && this.#links.length < linksMax)
        this.#links.push(this.#encodeLink('Ping', 0, nonce, nothing));
    }
    this.#overdue = message;
    for (const channel of this.#channels.values()) {
      for (const stream of channel.sendStreams) {
        if (this.#links.length >= linksMax) return;
        const frame = stream.probe();
        if (frame !== undefined) this.#links.push(encodeFrame(frame));
      }
    }
  }

  #end(error: HawserError): void {
    if (this.#state.at === 'closed') return;
    this.#leavePort();
    this.#state = { at: 'closed', error };
    for (const ping of this.#pings.values()) ping.reject(error);
    this.#pings.clear();
    const channels = [...this.#channels.values()];
    this.#channels.clear();
    for (const channel of channels) channel.connectionEnded(error);
    this.#budget.forget(this);
    this.#handler.closed(error);
  }
}

const nothing = new Uint8Array(0);

/** Messages that somebody here asks for, and can be told that they were not sent. */
const requests: ReadonlySet<MessageFrameName> = new Set([
  'ExecRequest',
  'Resize',
  'Signal',
  'Rlimits',
  'Info',
  'Attach',
  'Detach',
  'AddEntropy',
  'Members',
  'KillTree',
  'KillOne',
  'Freeze',
  'Thaw',
  'Stats',
  'List',
  'Inspect',
  'Wait',
  'Remove',
  'AllStats',
  'StopStats',
  'Shutdown',
]);

/** Link frames that may wait for the line; more come only of a peer that does not read what it asks for. */
const linksMax = 1024;

/** Characters of an error's text that is sent to a peer that takes no more, or is being left. */
const shortTextMax = 512;

/** A `Credit`'s payload: the stream's frame type, and the consumed position. */
const creditPayloadBytes = 9;
