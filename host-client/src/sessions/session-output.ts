import type { Readable } from 'node:stream';
import type { Channel, ChannelHandler, HawserError, Message, Payload, ReceiveStream } from '@hawser/protocol';
import { failureOf } from './command.js';
import { Deferred } from './deferred.js';
import { OutputStream } from './output-stream.js';

/** Where to begin: what is kept, what comes from now on, a position in bytes, or not at all. */
export type OutputFrom = 'start' | 'end' | 'none' | number;

export interface OutputOptions {
  /** Of each output; default 0, so that what is not kept any more is told as a gap. In a terminal everything is stdout. */
  readonly from?: OutputFrom | { readonly stdout?: OutputFrom; readonly stderr?: OutputFrom };
  /** False: what is there now, and then the end. Default true: until nobody in the guest holds the output any more. */
  readonly follow?: boolean;
}

/** Where in one output a reader is. */
export interface OutputPosition {
  /** Of the first byte that comes. */
  readonly from: number;
  /** Of the oldest byte that is kept; what lies between `from` and that comes as a gap. */
  readonly start: number;
  /** Behind the newest byte that there was when it began. */
  readonly end: number;
}

export type OpenOutput = (sessionId: string, options: OutputOptions) => Promise<SessionOutput>;

type OutputName = 'stdout' | 'stderr';

/** What a session has written, read by somebody who is not attached to it. `close`, or `await using`, ends the reading. */
export class SessionOutput implements AsyncDisposable {
  /** Null where it was not asked for. */
  readonly stdout: Readable | null;
  /** Null also in a terminal. */
  readonly stderr: Readable | null;
  readonly id: string;
  readonly tty: boolean;
  readonly #positions: { readonly stdout: OutputPosition; readonly stderr: OutputPosition | null };
  readonly #reading: OutputReading;

  /** @internal Made by `SessionRegistry.output`. */
  constructor(reading: OutputReading, attached: Payload<'Attached'>) {
    this.#reading = reading;
    this.id = attached.sessionId;
    this.tty = attached.tty;
    this.#positions = { stdout: attached.stdout, stderr: attached.stderr ?? null };
    this.stdout = reading.sinks.stdout ?? null;
    this.stderr = reading.sinks.stderr ?? null;
  }

  /** Positions in bytes when the reading began. */
  get positions(): { readonly stdout: OutputPosition; readonly stderr: OutputPosition | null } {
    return this.#positions;
  }

  /** Resolves when there is no more to come. Rejects when the connection ends first. */
  get ended(): Promise<void> {
    return this.#reading.ended;
  }

  /** Reads no more. */
  async close(): Promise<void> {
    this.stdout?.destroy();
    this.stderr?.destroy();
    this.#reading.leave();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** The channel of such a reader. */
export class OutputReading implements ChannelHandler {
  readonly sinks: { stdout?: OutputStream; stderr?: OutputStream } = {};
  readonly #channel: Channel;
  readonly #request: Payload<'Attach'>;
  readonly #number: number;
  readonly #streams: ReceiveStream[] = [];
  readonly #attached = new Deferred<Payload<'Attached'>>();
  readonly #ended = new Deferred<void>();
  #over = false;

  /** Sends the request. */
  constructor(open: (handler: ChannelHandler) => Channel, sessionId: string, options: OutputOptions) {
    this.#request = attachRequest(sessionId, options);
    this.#channel = open(this);
    this.#number = this.#channel.send('Attach', this.#request);
  }

  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Resolves when the agent has answered. */
  async output(): Promise<SessionOutput> {
    return new SessionOutput(this, await this.#attached.promise);
  }

  leave(): void {
    if (this.#over) return;
    this.#over = true;
    // The answer is not waited for: what still comes on the channel is stale.
    if (this.#channel.connection.open) this.#channel.send('Detach', {});
    this.#channel.release();
    this.#ended.resolve();
  }

  message(message: Message): void {
    if (message.name === 'Attached') this.#begin(message.body);
    else if (message.name === 'Failure' && message.body.re === this.#number)
      this.#fail(failureOf(message.body));
  }

  closed(error: HawserError): void {
    this.#fail(error);
  }

  #begin(attached: Payload<'Attached'>): void {
    if (this.#streams.length > 0 || this.#over) return;
    if (this.#request.stdout !== 'none') this.#read('stdout', attached.stdout.from);
    if (this.#request.stderr !== 'none' && attached.stderr !== undefined)
      this.#read('stderr', attached.stderr.from);
    this.#attached.resolve(attached);
    // A terminal has no stderr: where nothing else was asked for, there is nothing to come.
    if (this.#streams.length === 0) this.leave();
  }

  #read(name: OutputName, from: number): void {
    const sink = new OutputStream();
    const stream = this.#channel.openReceiveStream(name === 'stdout' ? 'Stdout' : 'Stderr', sink, from);
    sink.attach(stream, () => this.#settle());
    this.sinks[name] = sink;
    this.#streams.push(stream);
  }

  #settle(): void {
    if (this.#over || !this.#streams.every((stream) => stream.finished)) return;
    this.#over = true;
    this.#channel.release();
    this.#ended.resolve();
  }

  #fail(error: HawserError): void {
    if (this.#over) return;
    this.#over = true;
    this.#channel.release();
    this.#attached.reject(error);
    this.#ended.reject(error);
    for (const sink of Object.values(this.sinks)) sink.fail(error);
  }
}

function attachRequest(sessionId: string, { from = 0, follow }: OutputOptions): Payload<'Attach'> {
  const { stdout, stderr } = typeof from === 'object' ? from : { stdout: from, stderr: from };
  return { sessionId, observe: true, follow, stdout: stdout ?? 0, stderr: stderr ?? 0 };
}
