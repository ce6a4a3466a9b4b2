import type { HawserError } from './errors.js';

export type LineKind = 'unix' | 'uart' | 'virtio' | 'vsock' | 'stdio' | 'pipe' | 'duplex';

/** What a line tells its user. The line owns the calls' order: `closed` is last and comes once. */
export interface LineHandler {
  /**
   * The buffer that the next read may fill from its start; never empty. The line asks again before
   * each read and hands over what it read with `received`.
   */
  readBuffer(): Uint8Array;
  /** The first `bytes` of the buffer last asked for were filled. */
  received(bytes: number): void;
  /** After a short `write`: the line takes bytes again. */
  writable(): void;
  /** The line is gone, with the reason where there is one; nothing follows. */
  closed(error?: HawserError): void;
}

/**
 * A duplex byte pipe and what is known of it. It knows nothing of frames.
 *
 * A line queues (almost) nothing itself: `write` takes what the kernel takes now and says how much
 * that was, so that what is sent next is decided as late as possible.
 */
export interface Line {
  readonly kind: LineKind;
  /** For messages and logs, e.g. `uart:/dev/ttyS0`. */
  readonly name: string;
  /** Bytes may be changed, lost or inserted on the way: every frame is sent `CHECKED`. */
  readonly mayCorrupt: boolean;
  /** The largest payload that a data frame should have here, so that a message behind it waits little. */
  readonly dataBytesPreferred: number;
  /** Starts reading. Called once, before any `write`. */
  start(handler: LineHandler): void;
  /**
   * Writes `head` and then `body`, without waiting.
   *
   * @returns how many bytes of the two together were taken, from 0 to all of them. Below all,
   *   `LineHandler.writable` follows. The bytes taken may be read by the line until they are sent:
   *   `body` must not change before the peer has consumed it, `head` may be reused at once.
   */
  write(head: Uint8Array, body?: Uint8Array): number;
  /** Stops or goes on with reading: back-pressure for a reader that is full. */
  setReading(on: boolean): void;
  /** Closes at once; what was not written is lost. `closed` is still called. Idempotent. */
  close(): void;
}
