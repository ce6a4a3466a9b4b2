import type { Line, LineHandler, LineKind } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import { EAGAIN, errnoName } from '../ffi/errno.js';
import * as native from '../ffi/native.js';
import type { Poller, Watch } from '../processes/poller.js';
import { POLL_ERR, POLL_HUP, POLL_IN, POLL_OUT } from '../processes/poller.js';

export interface PolledLineOptions {
  readonly poller: Poller;
  /** Non-blocking, as is `writeFd`, which is the same unless given. */
  readonly readFd: number;
  readonly writeFd?: number;
  readonly kind: LineKind;
  readonly name: string;
  readonly mayCorrupt: boolean;
  readonly dataBytesPreferred: number;
  /**
   * The line is over and does not touch its descriptors any more: closes them, or takes them back.
   * Called once, with the reason unless it was `close`; `errno` where it was a failure.
   */
  release(line: PolledLine, reason: HawserError | undefined): void;
}

type State = { at: 'idle' } | { at: 'open'; handler: LineHandler } | { at: 'closed' };

/** Read at one wake at most: the other descriptors want their turn. */
const wakeBytesMax = 256 * 1024;
/** After a read of less there is hardly more, and if there is, the poller says so. Terminals and virtio give 4096 at most. */
const shortReadBytes = 2048;

/** A line over raw descriptors. Bytes go straight between the kernel and the handler's memory. */
export class PolledLine implements Line {
  readonly kind: LineKind;
  readonly name: string;
  readonly mayCorrupt: boolean;
  readonly dataBytesPreferred: number;
  /** Bytes that came in so far. */
  receivedBytes = 0;
  readonly #options: PolledLineOptions;
  readonly #writeFd: number;
  #state: State = { at: 'idle' };
  #readWatch: Watch | undefined;
  #writeWatch: Watch | undefined;
  #reading = true;
  /** The last `write` was short: `writable` is owed. */
  #waiting = false;
  /** A hang-up was seen that nobody reads: it cannot be masked, so the descriptor is out of the poller's set. */
  #parked = false;

  constructor(options: PolledLineOptions) {
    this.#options = options;
    this.#writeFd = options.writeFd ?? options.readFd;
    this.kind = options.kind;
    this.name = options.name;
    this.mayCorrupt = options.mayCorrupt;
    this.dataBytesPreferred = options.dataBytesPreferred;
  }

  start(handler: LineHandler): void {
    if (this.#state.at !== 'idle')
      throw new HawserError('internal', `${this.name} was started twice, or after close`);
    this.#state = { at: 'open', handler };
    const { poller, readFd } = this.#options;
    this.#readWatch = poller.watch(readFd, 0, (events) => this.#woken(events));
    this.#writeWatch =
      this.#writeFd === readFd
        ? this.#readWatch
        : poller.watch(this.#writeFd, 0, (events) =>
            this.#woken(events & (POLL_ERR | POLL_HUP) ? POLL_OUT : events),
          );
    this.#watch();
  }

  write(head: Uint8Array, body?: Uint8Array): number {
    if (this.#state.at !== 'open') return 0;
    const bodyBytes = body?.length ?? 0;
    const result = native.write2(this.#writeFd, head, 0, head.length, body ?? null, 0, bodyBytes);
    if (result === head.length + bodyBytes) return result;
    if (result < 0 && result !== -EAGAIN) {
      queueMicrotask(() => this.#failed('write', result));
      return 0;
    }
    this.#waiting = true;
    this.#watch();
    return Math.max(0, result);
  }

  setReading(on: boolean): void {
    this.#reading = on;
    if (on) this.#parked = false;
    this.#watch();
  }

  close(): void {
    this.#end();
  }

  #woken(events: number): void {
    const gone = (events & (POLL_HUP | POLL_ERR)) !== 0;
    if (this.#reading) {
      if (gone || (events & POLL_IN) !== 0) this.#read();
    } else if (gone) {
      this.#parked = true;
    }
    // What a peer that is gone has left to read comes before the failure of a write to it.
    if ((events & POLL_OUT) !== 0 && !gone && this.#waiting && this.#state.at === 'open') {
      this.#waiting = false;
      this.#state.handler.writable();
    }
    this.#watch();
  }

  #read(): void {
    const { readFd } = this.#options;
    for (let room = wakeBytesMax; room > 0 && this.#reading && this.#state.at === 'open'; ) {
      const { handler } = this.#state;
      const buffer = handler.readBuffer();
      const bytes = native.read(readFd, buffer, 0, buffer.length);
      if (bytes === -EAGAIN) return;
      if (bytes < 0) {
        this.#end(this.#error('read', bytes));
        return;
      }
      if (bytes === 0) {
        this.#end(new HawserError('line_closed', `${this.name} was closed by the other side`));
        return;
      }
      room -= bytes;
      this.receivedBytes += bytes;
      handler.received(bytes);
      if (bytes < shortReadBytes) return;
    }
  }

  /** A write failed: the peer is gone, and what it said before is still heard. */
  #failed(call: string, result: number): void {
    if (this.#reading) this.#read();
    this.#end(this.#error(call, result));
  }

  #error(call: string, result: number): HawserError {
    const errno = errnoName(result);
    return new HawserError('line_closed', `${this.name}: ${call} failed with ${errno}`, { errno });
  }

  /** Tells the poller what is waited for. */
  #watch(): void {
    if (this.#state.at !== 'open') return;
    const read = this.#reading ? POLL_IN : 0;
    const write = this.#waiting ? POLL_OUT : 0;
    if (this.#readWatch === this.#writeWatch) {
      this.#readWatch?.setInterest(this.#parked ? 0 : read | write);
    } else {
      this.#readWatch?.setInterest(this.#parked ? 0 : read);
      this.#writeWatch?.setInterest(write);
    }
  }

  #end(reason?: HawserError): void {
    const state = this.#state;
    if (state.at === 'closed') return;
    this.#state = { at: 'closed' };
    this.#readWatch?.stop();
    this.#writeWatch?.stop();
    this.#options.release(this, reason);
    if (state.at === 'open') queueMicrotask(() => state.handler.closed(reason));
  }
}
