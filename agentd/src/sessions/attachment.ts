import type {
  Channel,
  ChannelHandler,
  Connection,
  HawserError,
  Message,
  Payload,
  SendStream,
} from '@hawser/protocol';

/** What a session tells those who follow it. */
type SessionMessage = 'ExecStarted' | 'ExecFailed' | 'Exited' | 'Closed' | 'StdinClosed' | 'StdinTaken';

/** What an attachment tells its session. */
export interface AttachmentHandler {
  message(attachment: Attachment, message: Message): void;
  /** Its connection is over. */
  lost(attachment: Attachment): void;
  /** It has consumed more, perhaps the last of it. */
  consumed(attachment: Attachment): void;
}

/**
 * - starter: the host asked for the command, and is told when it runs; others are told at once.
 * - follower: it has come for a session that was there.
 * - observer: it only reads, and nothing waits for it.
 */
export type AttachmentRole = 'starter' | 'follower' | 'observer';

/** One host that follows a session: its channel, and how far it has read each output. */
export class Attachment implements ChannelHandler {
  readonly channel: Channel;
  readonly role: AttachmentRole;
  readonly #readers: SendStream[] = [];
  #handler: AttachmentHandler | undefined;

  /** @throws HawserError as `Connection.openChannel`. */
  constructor(connection: Connection, channelNumber: number, role: AttachmentRole) {
    this.channel = connection.openChannel(channelNumber, this);
    this.role = role;
  }

  get observes(): boolean {
    return this.role === 'observer';
  }

  /** From now on what the host says goes to `handler`. */
  follow(handler: AttachmentHandler): void {
    this.#handler = handler;
  }

  addReader(reader: SendStream): void {
    this.#readers.push(reader);
  }

  /** It has everything of every output that it reads, and they have ended. */
  get consumedAll(): boolean {
    return this.#readers.every((reader) => reader.consumed);
  }

  /** One of its readers has consumed more. */
  progressed(): void {
    this.#handler?.consumed(this);
  }

  /** Sends to the host, while there is one. */
  tell<N extends SessionMessage>(name: N, body: Payload<N>): void {
    if (this.channel.connection.open) this.channel.send(name, body);
  }

  /** What it was told leaves now. */
  flush(): void {
    if (this.channel.connection.open) this.channel.connection.flush();
  }

  /** Forgets the channel: nothing more is sent. */
  release(): void {
    this.#handler = undefined;
    this.channel.release();
  }

  message(message: Message): void {
    this.#handler?.message(this, message);
  }

  closed(_error: HawserError): void {
    this.#handler?.lost(this);
  }
}
