import type { SendStream } from '@hawser/protocol';
import { EAGAIN, EINTR } from '../ffi/errno.js';
import * as native from '../ffi/native.js';
import type { Poller, Watch } from '../processes/poller.js';
import { POLL_IN } from '../processes/poller.js';

/** What one wake-up may read before others have their turn, bytes. */
const turnBytes = 256 * 1024;

/**
 * Reads one output of a child, a pipe's end or a terminal's master, straight into its stream's spool.
 * When the spool is full it stops reading: the child then blocks. Owns the descriptor of a pipe;
 * a master belongs to its terminal.
 */
export class OutputPump {
  readonly #fd: number;
  readonly #stream: SendStream;
  readonly #watch: Watch;
  readonly #onEnd: () => void;
  #state: 'reading' | 'full' | 'ended' = 'reading';

  /** @param onEnd nobody holds the other end any more, and everything was read. */
  constructor(poller: Poller, fd: number, stream: SendStream, onEnd: () => void) {
    this.#fd = fd;
    this.#stream = stream;
    this.#onEnd = onEnd;
    this.#watch = poller.watch(fd, POLL_IN, () => this.#turn());
  }

  get ended(): boolean {
    return this.#state === 'ended';
  }

  /** The spool has room again. */
  resume(): void {
    if (this.#state !== 'full') return;
    this.#state = 'reading';
    this.#watch.setInterest(POLL_IN);
  }

  /**
   * Reads what is there now, though the spool may be full: the leader is dead, and what it wrote
   * is in the pipe. What descendants write meanwhile is left for later turns.
   */
  drain(): void {
    if (this.#state === 'ended') return;
    // A terminal does not say how much it holds; its buffer is smaller than that.
    const held = native.available(this.#fd);
    let left = held > 0 ? held : 0;
    do {
      this.#stream.spool.reserve(Math.max(left, drainBytes));
      const room = this.#stream.spool.room();
      const bytes = this.#read(room.subarray(0, Math.max(left, drainBytes)));
      if (bytes <= 0) return;
      left -= bytes;
    } while (left > 0);
    // One read more tells whether that was all: at the end of file it ends the stream here and now.
    this.#stream.spool.reserve(drainBytes);
    this.#read(this.#stream.spool.room().subarray(0, drainBytes));
  }

  /** Reads no more; what was read stays. */
  stop(): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#watch.stop();
  }

  #turn(): void {
    for (let left = turnBytes; left > 0 && this.#state === 'reading'; ) {
      const room = this.#stream.spool.room();
      if (room.length === 0) {
        this.#state = 'full';
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
    if (bytes > 0) {
      this.#stream.spool.commit(bytes);
      this.#stream.produced();
      return bytes;
    }
    if (bytes === -EAGAIN || bytes === -EINTR) return 0;
    // 0 is a pipe's end; a terminal whose other side is closed says EIO.
    this.stop();
    this.#onEnd();
    return 0;
  }
}

const drainBytes = 4096;
