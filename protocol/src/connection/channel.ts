import type { HawserError } from '../errors.js';
import type { DataFrameName, MessageFrameName } from '../frames/frame-types.js';
import type { Payload } from '../messages/schemas.js';
import type { Spool } from '../spool.js';
import type { ChannelHandler, Connection } from './connection.js';
import type { StreamSink } from './receive-stream.js';
import { ReceiveStream } from './receive-stream.js';
import { SendStream } from './send-stream.js';

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

  /**
   * A stream with a spool of its own, which what was consumed leaves.
   *
   * @param onRoom called when bytes of its spool were freed.
   * @param from position of the first byte.
   */
  openSendStream(type: DataFrameName, spoolBytesMax: number, onRoom: () => void, from = 0): SendStream {
    const spool = this.#connection.newSpool(spoolBytesMax, from);
    const stream: SendStream = this.openReader(type, spool, {
      from,
      onConsumed: () => {
        spool.free(stream.consumedBytes);
        onRoom();
      },
      onOver: () => spool.close(),
    });
    return stream;
  }

  /** A stream that reads a spool which is somebody else's, from position `from` on and, where it is given, up to `until`. */
  openReader(
    type: DataFrameName,
    spool: Spool,
    options: { from?: number; until?: number | undefined; onConsumed: () => void; onOver: () => void },
  ): SendStream {
    const window = this.#connection.agreement.sendWindowBytes;
    // Field by field: a spread costs what all the rest of this does.
    const stream = new SendStream(this.#connection, {
      type,
      channel: this.number,
      spool,
      window,
      from: options.from ?? 0,
      until: options.until,
      onConsumed: options.onConsumed,
      onOver: options.onOver,
    });
    this.#sending.push(stream);
    return stream;
  }

  /** @param from position of the first byte that comes. */
  openReceiveStream(type: DataFrameName, sink: StreamSink, from = 0): ReceiveStream {
    const window = this.#connection.agreement.receiveWindowBytes;
    const stream = new ReceiveStream(this.#connection, { type, channel: this.number, window, sink, from });
    this.#receiving.push(stream);
    return stream;
  }

  /** Forgets the channel: what still comes on it is stale. */
  release(): void {
    this.#connection.releaseChannel(this);
    for (const stream of this.#sending) stream.abandon();
  }

  /** @internal It was set up: its streams are known. */
  get hasStreams(): boolean {
    return this.#sending.length + this.#receiving.length > 0;
  }

  /** @internal */
  get sendStreams(): readonly SendStream[] {
    return this.#sending;
  }

  /** @internal */
  get receiveStreams(): readonly ReceiveStream[] {
    return this.#receiving;
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
