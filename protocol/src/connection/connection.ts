import { HawserError } from '../errors.js';
import type { DataFrameName, MessageFrameName } from '../frames/frame-types.js';
import { frameTypeName, frameTypes } from '../frames/frame-types.js';
import { encodeFrame, frameFlags, readOffset, writeOffset } from '../frames/header.js';
import type { Frame } from '../frames/header.js';
import type { Limits } from '../limits.js';
import type { MessageCodec } from '../messages/codec.js';
import type { Payload } from '../messages/schemas.js';
import { Spool } from '../spool.js';
import type { SpoolBudget } from '../spool.js';
import type { Clock } from './clock.js';
import { MessageLog } from './message-log.js';
import type { Port, PortClient } from './port.js';
import { ReceiveStream } from './receive-stream.js';
import type { StreamSink } from './receive-stream.js';
import { SendStream } from './send-stream.js';

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
  /** The connection is over, for the reason given; nothing follows. */
  closed(error: HawserError): void;
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
  readonly checked: boolean;
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

type ConnectionState =
  | { at: 'open'; port: Port }
  | { at: 'closed'; error: HawserError };

/**
 * One conversation between a host and an agent, the same class at both ends: numbered messages,
 * streams with credit, acknowledgement, heartbeat. It sends through a port, which takes from
 * `nextUrgent` and `nextStream` what may go next.
 */
export class Connection implements PortClient {
  readonly lane: number;
  readonly agreement: Agreement;
  readonly #limits: Limits;
  readonly #codec: MessageCodec;
  readonly #clock: Clock;
  readonly #budget: SpoolBudget;
  readonly #handler: ConnectionHandler;
  readonly #log: MessageLog;
  readonly #channels = new Map<number, Channel>();
  #channelsSeen = 0;
  readonly #links: Uint8Array[] = [];
  readonly #messages: Uint8Array[] = [];
  readonly #streams: SendStream[] = [];
  readonly #credits: ReceiveStream[] = [];
  #state: ConnectionState;
  #cancelAckTimer: (() => void) | undefined;
  #cancelHeartbeat: (() => void) | undefined;
  #heardAt: number;
  #pingNonce = 0;
  readonly #pings = new Map<number, { sentAt: number; resolve: (ms: number) => void; reject: (error: HawserError) => void }>();

  constructor(port: Port, options: ConnectionOptions) {
    this.lane = options.lane;
    this.agreement = options.agreement;
    this.#limits = options.limits;
    this.#codec = options.codec;
    this.#clock = options.clock;
    this.#budget = options.budget;
    this.#handler = options.handler;
    this.#log = new MessageLog(options.limits);
    this.#heardAt = options.clock.now();
    this.#state = { at: 'open', port };
    port.acceptFullFrames();
    port.attach(this.lane, this);
    this.#scheduleHeartbeat();
  }

  get open(): boolean {
    return this.#state.at === 'open';
  }

  get checked(): boolean {
    return this.agreement.checked;
  }

  get frameBytesMax(): number {
    return this.agreement.frameBytesMax;
  }

  get channelCount(): number {
    return this.#channels.size;
  }

  /**
   * Opens a channel: from now on its messages go to `handler`.
   *
   * @throws HawserError `limit_exceeded` beyond `channelsMax`, `connection_closed` afterwards.
   */
  openChannel(number: number, handler: ChannelHandler): Channel {
    if (this.#state.at === 'closed') {
      throw new HawserError('connection_closed', 'the connection is closed', { cause: this.#state.error });
    }
    if (this.#channels.size >= this.#limits.channelsMax) {
      throw new HawserError('limit_exceeded', `${this.#channels.size} channels are open (channelsMax ${this.#limits.channelsMax})`);
    }
    const channel = new Channel(this, number, handler);
    this.#channels.set(number, channel);
    this.#channelsSeen = Math.max(this.#channelsSeen, number);
    return channel;
  }

  /**
   * Sends a message. It leaves when what happens now has happened.
   *
   * @returns its number, which the reply names.
   * @throws HawserError `frame_too_large`, `limit_exceeded`, `connection_closed`.
   */
  send<N extends MessageFrameName>(channel: number, name: N, body: Payload<N>): number {
    if (this.#state.at === 'closed') {
      throw new HawserError('connection_closed', 'the connection is closed', { cause: this.#state.error });
    }
    const payload = this.#codec.encode(name, body);
    if (payload.length > this.agreement.frameBytesMax) {
      throw new HawserError(
        'frame_too_large',
        `${name} of ${payload.length} bytes exceeds frameBytesMax ${this.agreement.frameBytesMax}`,
      );
    }
    const number = this.#log.nextNumber;
    const frame = encodeFrame({
      type: frameTypes[name].id,
      flags: this.checked ? frameFlags.CHECKED : 0,
      lane: this.lane,
      channel,
      offset: number,
      payload,
    });
    this.#log.sent(frame);
    this.#messages.push(frame);
    this.#state.port.requestFlush();
    return number;
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
    if (this.#state.at === 'closed') return;
    const { port } = this.#state;
    const body: Payload<'Bye'> = reason === undefined ? {} : { code: reason.code, message: reason.message };
    for (let frame = this.nextUrgent(); frame !== undefined; frame = this.nextUrgent()) port.sendLast(frame);
    port.sendLast(this.#encodeLink('Bye', 0, 0, this.#codec.encode('Bye', body)));
    this.#end(reason ?? new HawserError('connection_closed', 'the connection was closed'));
  }

  // What the port calls

  frame(frame: Frame): boolean {
    this.#heardAt = this.#clock.now();
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
    const link = this.#links.shift();
    if (link !== undefined) return link;
    // Whatever leaves takes along what is owed anyway.
    const owed = this.#creditFrame() ?? this.#ackFrame();
    return owed ?? this.#messages.shift();
  }

  nextStream(): SendStream | undefined {
    for (;;) {
      const stream = this.#streams.shift();
      if (stream === undefined) return undefined;
      stream.queued = false;
      if (!stream.ready()) continue;
      // It goes to the end of the queue: the port takes one frame now, and the rest in its next turn.
      stream.queued = true;
      this.#streams.push(stream);
      return stream;
    }
  }

  lineClosed(error: HawserError): void {
    this.#end(error);
  }

  // What streams and channels call

  /** @internal */
  streamReady(stream: SendStream): void {
    if (this.#state.at === 'closed') return;
    if (!stream.queued) {
      stream.queued = true;
      this.#streams.push(stream);
    }
    this.#state.port.requestFlush();
  }

  /** @internal */
  creditDue(stream: ReceiveStream, urgent: boolean): void {
    if (this.#state.at === 'closed') return;
    if (!stream.queued) {
      stream.queued = true;
      this.#credits.push(stream);
    }
    if (urgent) this.#state.port.requestFlush();
    else this.#owe();
  }

  /** @internal */
  newSpool(bytesMax: number): Spool {
    return new Spool(this.#budget, this, bytesMax);
  }

  /** @internal */
  releaseChannel(channel: Channel): void {
    this.#channels.delete(channel.number);
  }

  // Incoming

  #link(frame: Frame): void {
    switch (frame.type) {
      case frameTypes.Ping.id:
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
        if (!this.#log.acknowledged(frame.offset)) this.#violation(`Ack of message ${frame.offset}, which was never sent`);
        return;
      case frameTypes.Credit.id:
        this.#credit(frame);
        return;
      case frameTypes.Bye.id:
        this.#bye(frame);
        return;
      default:
        this.#unknownType(frame);
    }
  }

  #bye(frame: Frame): void {
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
    const verdict = this.#log.accept(frame.offset);
    if (verdict === 'missing') {
      this.#end(
        new HawserError('line_corrupt', `message ${this.#log.received + 1} was lost: ${name} ${frame.offset} came instead`),
      );
      return;
    }
    if (this.#log.ackDue >= this.#limits.ackMessagesMax) this.#requestFlush();
    else this.#owe();
    if (verdict === 'repeat') return;
    let body: Payload<MessageFrameName>;
    try {
      body = this.#codec.decode(name, frame.payload);
    } catch (error) {
      this.#refuse(frame, error as HawserError);
      return;
    }
    const message = { name, number: frame.offset, body } as Message;
    const channel = this.#channels.get(frame.channel);
    if (channel !== undefined) channel.handler.message(message);
    else this.#handler.request(frame.channel, message);
  }

  /** A message that cannot be taken: the one who sent it is told, unless it is itself a reply. */
  #refuse(frame: Frame, error: HawserError): void {
    this.#handler.notice({ kind: 'message_invalid', error });
    if (frame.type === frameTypes.Failure.id || frame.type === frameTypes.Done.id) return;
    this.send(frame.channel, 'Failure', { re: frame.offset, code: error.code, message: error.message });
  }

  #data(frame: Frame): boolean {
    const stream = this.#channels.get(frame.channel)?.receiving(frame.type);
    if (stream === undefined) {
      this.#handler.notice({ kind: 'stale_channel', channel: frame.channel });
      return true;
    }
    const fin = (frame.flags & frameFlags.FIN) !== 0;
    const gap = (frame.flags & frameFlags.GAP) !== 0;
    const result = stream.frame(frame.offset, frame.payload, fin, gap);
    if (typeof result === 'boolean') return result;
    const what = `${frame.payload.length} bytes at ${frame.offset} of channel ${frame.channel}`;
    switch (result) {
      case 'missing_bytes':
        this.#end(new HawserError('line_corrupt', `bytes from ${stream.receivedBytes} on were lost: ${what} came instead`));
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

  #unknownType(frame: Frame): void {
    this.#handler.notice({ kind: 'unknown_type', type: frame.type });
    if (frame.type < 0x20 || frame.type >= 0x80) return;
    // A message of a later generation still has a number, and its sender waits for a reply.
    if (this.#log.accept(frame.offset) !== 'next') return;
    this.#owe();
    this.send(frame.channel, 'Failure', {
      re: frame.offset,
      code: 'unsupported',
      message: `message type 0x${frame.type.toString(16)} is not known to generation ${this.agreement.generation}`,
    });
  }

  #violation(message: string): void {
    this.close(new HawserError('protocol_violation', message));
  }

  // Outgoing

  #requestFlush(): void {
    if (this.#state.at === 'open') this.#state.port.requestFlush();
  }

  /** Acknowledgements and last credits go with the next frame, or by themselves a little later. */
  #owe(): void {
    if (this.#cancelAckTimer !== undefined || this.#state.at === 'closed') return;
    this.#cancelAckTimer = this.#clock.after(this.#limits.ackDelayMs, () => {
      this.#cancelAckTimer = undefined;
      this.#requestFlush();
    });
  }

  #creditFrame(): Uint8Array | undefined {
    const stream = this.#credits.shift();
    if (stream === undefined) return undefined;
    stream.queued = false;
    const payload = new Uint8Array(creditPayloadBytes);
    payload[0] = stream.typeId;
    writeOffset(payload, 1, stream.consumedBytes);
    return this.#encodeLink('Credit', stream.channel, stream.takeLimit(), payload, stream.finished ? frameFlags.FIN : 0);
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

  #scheduleHeartbeat(): void {
    this.#cancelHeartbeat = this.#clock.after(this.#limits.heartbeatIntervalMs, () => {
      const silentMs = this.#clock.now() - this.#heardAt;
      if (silentMs >= this.#limits.heartbeatTimeoutMs) {
        const limit = this.#limits.heartbeatTimeoutMs;
        this.#end(new HawserError('heartbeat_lost', `nothing was heard for ${Math.round(silentMs)} ms (heartbeatTimeoutMs ${limit})`));
        return;
      }
      if (silentMs >= this.#limits.heartbeatIntervalMs / 2) this.#sendPing();
      this.#scheduleHeartbeat();
    });
  }

  #end(error: HawserError): void {
    if (this.#state.at === 'closed') return;
    this.#state.port.detach(this.lane, this);
    this.#state = { at: 'closed', error };
    this.#cancelAckTimer?.();
    this.#cancelHeartbeat?.();
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

/** A `Credit`'s payload: the stream's frame type, and the consumed position. */
const creditPayloadBytes = 9;

/** One session's handle on a connection: its messages and its streams. */
export class Channel {
  readonly number: number;
  readonly handler: ChannelHandler;
  readonly #connection: Connection;
  readonly #sending: SendStream[] = [];
  readonly #receiving: ReceiveStream[] = [];

  constructor(connection: Connection, number: number, handler: ChannelHandler) {
    this.#connection = connection;
    this.number = number;
    this.handler = handler;
  }

  get connection(): Connection {
    return this.#connection;
  }

  /** As `Connection.send`. */
  send<N extends MessageFrameName>(name: N, body: Payload<N>): number {
    return this.#connection.send(this.number, name, body);
  }

  /** @param onRoom called when bytes of its spool were freed. */
  openSendStream(type: DataFrameName, spoolBytesMax: number, onRoom: () => void): SendStream {
    const stream = new SendStream(this.#connection, {
      type,
      channel: this.number,
      spool: this.#connection.newSpool(spoolBytesMax),
      window: this.#connection.agreement.sendWindowBytes,
      onRoom,
    });
    this.#sending.push(stream);
    return stream;
  }

  openReceiveStream(type: DataFrameName, sink: StreamSink): ReceiveStream {
    const window = this.#connection.agreement.receiveWindowBytes;
    const stream = new ReceiveStream(this.#connection, { type, channel: this.number, window, sink });
    this.#receiving.push(stream);
    return stream;
  }

  /** Forgets the channel: what still comes on it is stale. */
  release(): void {
    this.#connection.releaseChannel(this);
    for (const stream of this.#sending) stream.abandon();
  }

  /** @internal */
  sending(typeId: number): SendStream | undefined {
    return this.#sending.find((stream) => stream.typeId === typeId);
  }

  /** @internal */
  receiving(typeId: number): ReceiveStream | undefined {
    return this.#receiving.find((stream) => stream.typeId === typeId);
  }

  /** @internal */
  connectionEnded(error: HawserError): void {
    for (const stream of this.#sending) stream.abandon();
    this.handler.closed(error);
  }
}
