import { closeSync, copyFileSync, fstatSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { vmFiles } from './hypervisors/guest-lines.js';

/**
 * The console's log, of bounded size: a guest may print without end. When the file is full its content is copied to a
 * second one, in place of what that held, and the file is begun anew; so both stay the same files, and whoever has
 * them open reads on. At most twice `bytesMax` are on the disk.
 */
export class ConsoleLog {
  readonly #path: string;
  readonly #pathBefore: string;
  readonly #bytesMax: number;
  readonly #fd: number;
  #bytes: number;

  constructor(directory: string, bytesMax: number) {
    this.#path = join(directory, vmFiles.console);
    this.#pathBefore = join(directory, vmFiles.consoleBefore);
    this.#bytesMax = Math.floor(bytesMax / 2);
    this.#fd = openSync(this.#path, 'a', 0o600);
    closeSync(openSync(this.#pathBefore, 'a', 0o600));
    this.#bytes = fstatSync(this.#fd).size;
  }

  write(chunk: Uint8Array): void {
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#bytes >= this.#bytesMax) this.#beginAnew();
      const written = writeSync(this.#fd, rest.subarray(0, this.#bytesMax - this.#bytes));
      this.#bytes += written;
      rest = rest.subarray(written);
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  #beginAnew(): void {
    copyFileSync(this.#path, this.#pathBefore);
    ftruncateSync(this.#fd, 0);
    this.#bytes = 0;
  }
}
