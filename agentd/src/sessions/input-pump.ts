import type { Channel, ReceiveStream, Spool, SpoolBudget, StreamSink } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import { EAGAIN, EINTR, errnoName } from '../ffi/errno.js';
import * as native from '../ffi/native.js';
import type { Poller, Watch } from '../processes/poller.js';
import { POLL_OUT } from '../processes/poller.js';

export interface InputPumpOptions {
  readonly poller: Poller;
  /** The pipe's write end, or the terminal's master. */
  readonly fd: number;
  /** Takes what the child does not read yet; within the credit given, so bounded. */
  readonly spool: Spool;
  readonly budget: SpoolBudget;
  /** How far the sender may get ahead of a child that reads quickly, bytes. */
  readonly windowBytesMax: number;
  /** What a child is to read at the end of its input, where an end cannot be told otherwise; maybe nothing. */
  endMark(lastByte: number | undefined): Uint8Array;
  /** Everything was written, the end mark too. */
  onEnd(): void;
  /** The child closed its end: nothing more can be written. Once. */
  onBroken(bytes: number, errno: string): void;
}

/** A pipe that has carried so much is made so large, bytes. */
const busyBytes = 256 * 1024;

/** What somebody waits for: a position, and the end where it follows. */
export interface InputPosition {
  readonly bytes: number;
  readonly ended: boolean;
}

/**
 * Writes a session's stdin to the child, as the child takes it. One host at a time is its writer; positions
 * are the session's, whoever wrote the bytes.
 */
export class InputPump {
  readonly #options: InputPumpOptions;
  #watch: Watch | undefined;
  #writer: Writer | undefined;
  #awaited: { readonly position: InputPosition; readonly callback: () => void } | undefined;
  #lastByte: number | undefined;
  /** What is left to be written of the end mark, which is not the host's and counts nowhere. */
  #endMark: Uint8Array | undefined;
  /** Position behind the last byte that was taken of a host, and behind the last that the kernel took. */
  #received = 0;
  #written = 0;
  /** Of the budget, for the credit beyond a writer's first: the most that any of them had. */
  #promisedBytes = 0;
  /** `ending`: the host has said the last; it is written when the spool is empty. */
  #state: 'open' | 'ending' | 'closed' = 'open';

  constructor(options: InputPumpOptions) {
    this.#options = options;
  }

  /** Position of the next byte that the session takes of its writer. */
  get receivedBytes(): number {
    return this.#received;
  }

  /**
   * Every writer has credit for its first bytes, whatever those before have left here: beyond `windowBytesMax`
   * there is no next one.
   *
   * @throws HawserError `limit_exceeded`
   */
  assertRoomForWriter(): void {
    const held = this.#received - this.#written;
    const { windowBytesMax } = this.#options;
    if (this.#state !== 'open' || held <= windowBytesMax) return;
    throw new HawserError(
      'limit_exceeded',
      `${held} bytes that were sent to the command before were not read by it (windowBytes ${windowBytesMax})`,
    );
  }

  /**
   * Whoever writes on that channel is the writer from now on; what an earlier one still sends is dropped.
   *
   * @param from position of the first byte that comes; of what comes again, nothing is taken twice.
   */
  openWriter(channel: Channel, from: number): void {
    const writer = new Writer(this, channel, from);
    this.#tellAwaited();
    this.#writer = writer;
    this.#consumed();
  }

  /** What a writer sends is taken: the end has not been said, and the command has not closed its end. */
  get takesMore(): boolean {
    return this.#state === 'open';
  }

  /** The channel's host is the writer. */
  isWriter(channel: Channel): boolean {
    return this.#writer?.channel === channel;
  }

  /**
   * Calls back when everything before `position` was taken of the writer on `channel`, or will never be.
   *
   * @throws HawserError `invalid_argument` where somebody waits already.
   */
  whenReceived(channel: Channel, position: InputPosition, callback: () => void): void {
    if (!this.isWriter(channel) || this.#state !== 'open' || this.#isAt(position)) callback();
    else if (this.#awaited === undefined) this.#awaited = { position, callback };
    else throw new HawserError('invalid_argument', 'the host is leaving the session already');
  }

  /** Of an open input, whose end is still to come. */
  #isAt({ bytes, ended }: InputPosition): boolean {
    return this.#received >= bytes && !ended;
  }

  /** @internal Bytes of a writer that end at its position `end`. */
  take(writer: Writer, given: Uint8Array, end: number): void {
    if (writer !== this.#writer || this.#state !== 'open') {
      writer.consumeTo(end);
      return;
    }
    const bytes = given.subarray(Math.max(0, this.#received - (end - given.length)));
    if (bytes.length === 0) {
      this.#consumed();
      return;
    }
    this.#received += bytes.length;
    this.#lastByte = bytes[bytes.length - 1];
    const { spool } = this.#options;
    let taken = 0;
    if (spool.bytes === 0) {
      taken = this.#write(bytes);
      if (taken === bytes.length) this.#quick();
    }
    if (taken < bytes.length && !this.#broken) {
      spool.push(bytes.subarray(taken));
      this.#awaitRoom();
    }
    if (this.#awaited !== undefined && this.#isAt(this.#awaited.position)) this.#tellAwaited();
  }

  #tellAwaited(): void {
    const awaited = this.#awaited;
    this.#awaited = undefined;
    awaited?.callback();
  }

  /** @internal The writer has said the last. */
  endOf(writer: Writer): void {
    if (writer !== this.#writer || this.#state !== 'open') return;
    this.#state = 'ending';
    if (this.#options.spool.bytes === 0) this.#finish();
    this.#tellAwaited();
  }

  /** The connection whose memory it used is over. */
  disown(): void {
    this.#options.spool.disown();
  }

  /** Writes no more and gives the sender credit for whatever still comes. */
  stop(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#watch?.stop();
    this.#written = this.#received;
    this.#consumed();
    this.#release();
    this.#tellAwaited();
  }

  get #broken(): boolean {
    return this.#state === 'closed';
  }

  #awaitRoom(): void {
    if (this.#watch === undefined)
      this.#watch = this.#options.poller.watch(this.#options.fd, POLL_OUT, () => this.#turn());
    else this.#watch.setInterest(POLL_OUT);
  }

  #turn(): void {
    const { spool } = this.#options;
    while (spool.bytes > 0 && !this.#broken) {
      const part = spool.view(spool.start, spool.bytes);
      const taken = this.#write(part);
      if (this.#broken) return;
      spool.free(spool.start + taken);
      if (taken < part.length) return;
    }
    if (this.#state === 'ending') {
      this.#finish();
      return;
    }
    this.#watch?.setInterest(0);
    this.#quick();
  }

  /** @returns the bytes that the kernel took. */
  #write(bytes: Uint8Array): number {
    const result = native.write2(this.#options.fd, bytes, 0, bytes.length, null, 0, 0);
    if (result >= 0) {
      this.#carried(result);
      this.#consumed();
      return result;
    }
    if (result === -EAGAIN || result === -EINTR) return 0;
    const written = this.#written;
    this.stop();
    this.#options.onBroken(written, errnoName(result));
    return 0;
  }

  /** Tells the writer how far the kernel is. */
  #consumed(): void {
    this.#writer?.consumeTo(this.#written);
  }

  /**
   * A pipe that has carried much is made larger: fewer turns of two processes for the same bytes. An
   * unprivileged agent may be refused (pipe(7)), and a terminal is: then it stays as it is. An output's
   * pipe is left alone: what it holds when its leader dies is taken beyond every limit.
   */
  #carried(bytes: number): void {
    const before = this.#written;
    this.#written += bytes;
    if (before < busyBytes && this.#written >= busyBytes) native.pipeCapacity(this.#options.fd, busyBytes);
  }

  /** The child has taken everything: it may be sent more at once, while the agent's memory allows. */
  #quick(): void {
    const writer = this.#writer;
    const { budget, windowBytesMax } = this.#options;
    if (writer === undefined || writer.stream.window >= windowBytesMax) return;
    const window = Math.min(writer.stream.window * 2, windowBytesMax);
    // What an earlier writer was promised is this one's: nothing more is taken of that.
    const more = Math.max(0, window - writer.firstWindowBytes - this.#promisedBytes);
    if (!budget.promise(more)) return;
    this.#promisedBytes += more;
    writer.stream.widen(window);
  }

  #release(): void {
    this.#options.spool.close();
    this.#options.budget.unpromise(this.#promisedBytes);
    this.#promisedBytes = 0;
  }

  #finish(): void {
    this.#endMark ??= this.#options.endMark(this.#lastByte);
    if (!this.#endMarkWritten(this.#endMark)) {
      this.#awaitRoom();
      return;
    }
    this.#state = 'closed';
    this.#watch?.stop();
    this.#release();
    this.#options.onEnd();
  }

  /** A terminal that is full takes it when it has room. */
  #endMarkWritten(mark: Uint8Array): boolean {
    if (mark.length === 0) return true;
    const result = native.write2(this.#options.fd, mark, 0, mark.length, null, 0, 0);
    if (result === -EAGAIN || result === -EINTR) return false;
    // Any other error: nobody is there to read it.
    this.#endMark = result < 0 ? new Uint8Array() : mark.subarray(result);
    return this.#endMark.length === 0;
  }
}

/** One host's stdin, for a session's pump. */
class Writer implements StreamSink {
  readonly channel: Channel;
  readonly stream: ReceiveStream;
  readonly firstWindowBytes: number;
  readonly #pump: InputPump;

  constructor(pump: InputPump, channel: Channel, from: number) {
    this.#pump = pump;
    this.channel = channel;
    this.stream = channel.openReceiveStream('Stdin', this, from);
    this.firstWindowBytes = this.stream.window;
  }

  consumeTo(position: number): void {
    const bytes = position - this.stream.consumedBytes;
    if (bytes > 0) this.stream.consume(bytes);
  }

  data(bytes: Uint8Array): boolean {
    this.#pump.take(this, bytes, this.stream.receivedBytes);
    return true;
  }

  end(): void {
    this.#pump.endOf(this);
  }

  gap(_from: number, _to: number): void {
    // A host does not drop stdin.
  }
}
