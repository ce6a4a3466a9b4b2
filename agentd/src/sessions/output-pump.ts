import { bulkBuffer } from '@hawser/protocol';
import { EAGAIN, EINTR } from '../ffi/errno.js';
import * as native from '../ffi/native.js';
import type { Poller, Watch } from '../processes/poller.js';
import { POLL_IN } from '../processes/poller.js';
import type { OutputSpool } from './output-spool.js';

/** What one wake-up may read before others have their turn, bytes. */
const turnBytes = 256 * 1024;

/**
 * What a dead leader may have left: a pipe holds 64 KiB where nobody has changed that (pipe(7)), a
 * terminal less. One buffer serves all, since it is emptied before anything else happens.
 */
const drainBuffer = bulkBuffer(64 * 1024);

/**
 * Reads one output of a child, a pipe's end or a terminal's master, straight into its spool.
 * When the spool is full it stops reading: the child then blocks. Owns a pipe's descriptor; a master
 * belongs to its terminal.
 */
export class OutputPump {
  readonly #fd: number;
  readonly #ownsFd: boolean;
  readonly #spool: OutputSpool;
  readonly #watch: Watch;
  readonly #onEnd: () => void;
  #state: 'reading' | 'full' | 'ended' = 'reading';
  #open = true;

  /**
   * Reads nothing before `start` or `drain`.
   *
   * @param onEnd nobody holds the other end any more, and everything was read.
   */
  constructor(poller: Poller, source: { fd: number; owned: boolean }, spool: OutputSpool, onEnd: () => void) {
    this.#fd = source.fd;
    this.#ownsFd = source.owned;
    this.#spool = spool;
    this.#onEnd = onEnd;
    this.#watch = poller.watch(source.fd, 0, () => this.#turn());
  }

  get ended(): boolean {
    return this.#state === 'ended';
  }

  /** Reads what comes from now on. Idempotent. */
  start(): void {
    if (this.#state === 'reading') this.#watch.setInterest(POLL_IN);
  }

  /** The spool has room again. */
  resume(): void {
    if (this.#state !== 'full') return;
    this.#state = 'reading';
    this.#watch.setInterest(POLL_IN);
  }

  /**
   * Reads what is there now, though the spool may be full: the leader is dead, and what it wrote
   * is in the pipe. What descendants write meanwhile is left for later turns. One that has ended by that is
   * to be closed in the same turn, when what is more urgent was done.
   */
  drain(): void {
    // The first read tells how much that is: a pipe that was made larger holds more than one buffer.
    let left = drainBuffer.length;
    for (let first = true; left > 0 && this.#state !== 'ended'; first = false) {
      const bytes = native.read(this.#fd, drainBuffer, 0, Math.min(left, drainBuffer.length));
      if (bytes <= 0) {
        if (!isPassing(bytes)) this.#end();
        return;
      }
      this.#spool.push(drainBuffer.subarray(0, bytes));
      // One byte more than there is: only a read that finds nothing tells that nobody writes any more.
      if (first && bytes === drainBuffer.length) left += Math.max(0, native.available(this.#fd)) + 1;
      left -= bytes;
    }
  }

  /** Reads no more, and closes the pipe; what was read stays. Idempotent. */
  close(): void {
    this.#state = 'ended';
    if (!this.#open) return;
    this.#open = false;
    if (this.#ownsFd) this.#watch.close();
    else this.#watch.stop();
  }

  #turn(): void {
    for (let left = turnBytes; left > 0 && this.#state === 'reading'; ) {
      const room = this.#spool.room();
      if (room.length === 0) {
        this.#state = 'full';
        this.#spool.starved();
        this.#watch.setInterest(0);
        return;
      }
      const bytes = this.#read(room);
      // A pipe that gave less than was asked for is empty, for now.
      if (bytes < room.length) return;
      left -= bytes;
    }
  }

  /** @returns the bytes read; 0 when there are none now, or none any more. */
  #read(room: Uint8Array): number {
    const bytes = native.read(this.#fd, room, 0, room.length);
    if (bytes <= 0) {
      if (!isPassing(bytes)) {
        this.close();
        this.#end();
      }
      return 0;
    }
    this.#spool.commit(bytes);
    return bytes;
  }

  #end(): void {
    this.#state = 'ended';
    this.#onEnd();
  }
}

/** A read gave nothing, for now. 0 is a pipe's end, though; a terminal whose other side is closed says EIO. */
function isPassing(result: number): boolean {
  return result === -EAGAIN || result === -EINTR;
}
