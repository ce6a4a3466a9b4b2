import * as native from '../ffi/native.js';

/** A pipe that has carried so much is made so large, bytes. */
const busyBytes = 256 * 1024;

/**
 * Makes a pipe larger once it has carried much: fewer turns of two processes for the same bytes.
 * Short commands do not pay for it.
 */
export class BusyPipe {
  readonly #fd: number;
  #left = busyBytes;

  constructor(fd: number) {
    this.#fd = fd;
  }

  carried(bytes: number): void {
    if (this.#left <= 0) return;
    this.#left -= bytes;
    if (this.#left > 0) return;
    // Refused to an unprivileged user beyond pipe-max-size or pipe-user-pages-soft (pipe(7)), and by a
    // terminal: then it stays as it is.
    native.pipeCapacity(this.#fd, busyBytes);
  }
}
