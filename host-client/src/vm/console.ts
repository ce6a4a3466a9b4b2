import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { vmFiles } from './hypervisors/guest-lines.js';

const lookAgainMs = 100;
const chunkBytes = 64 * 1024;

/**
 * What the guest's kernel, and whoever writes to its console, printed. The newest `consoleBytesMax` bytes are there, also
 * after the VM's end, as long as the handle that this belongs to is open.
 */
export class VmConsole {
  /** The log's file; it goes with the VM. */
  readonly path: string;
  readonly #now: FileHandle;
  readonly #before: FileHandle;

  private constructor(path: string, now: FileHandle, before: FileHandle) {
    this.path = path;
    this.#now = now;
    this.#before = before;
  }

  /** The files are found by their descriptors, after they were removed too. */
  static async open(directory: string): Promise<VmConsole> {
    const path = join(directory, vmFiles.console);
    const now = await open(path, 'r');
    try {
      return new VmConsole(path, now, await open(join(directory, vmFiles.consoleBefore), 'r'));
    } catch (error) {
      await now.close();
      throw error;
    }
  }

  /** All that is kept, as text. */
  async text(): Promise<string> {
    const before = await contentOf(this.#before, 0);
    const now = await contentOf(this.#now, 0);
    return Buffer.concat([before, now]).toString('utf8');
  }

  /**
   * What is there, and then what comes, as bytes; it ends when `until` is aborted and all was read.
   *
   * @example
   * for await (const chunk of vm.console.follow(AbortSignal.timeout(5_000))) process.stdout.write(chunk);
   */
  async *follow(until: AbortSignal): AsyncGenerator<Buffer> {
    yield* nonEmpty(await contentOf(this.#before, 0));
    let position = 0;
    let begun = await this.#begun();
    for (;;) {
      const last = until.aborted; // looked at before reading, so that nothing written before is missed
      const chunk = await contentOf(this.#now, position);
      const begunNow = await this.#begun();
      if (begunNow === begun) {
        position += chunk.length;
        yield* nonEmpty(chunk);
        if (last) return;
        if (chunk.length === 0) await delay(lookAgainMs, undefined, { signal: until }).catch(() => undefined);
      } else {
        // Begun anew meanwhile, so the chunk may be of either file: the rest of the old content is in the other.
        begun = begunNow;
        yield* nonEmpty(await contentOf(this.#before, position));
        position = 0;
      }
    }
  }

  async close(): Promise<void> {
    await this.#now.close();
    await this.#before.close();
  }

  /** Changes whenever the log is begun anew. */
  async #begun(): Promise<bigint> {
    return (await this.#before.stat({ bigint: true })).mtimeNs;
  }
}

/** From a position to the end. */
async function contentOf(file: FileHandle, from: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for (let position = from; ; ) {
    const chunk = Buffer.alloc(chunkBytes);
    const { bytesRead } = await file.read(chunk, 0, chunkBytes, position);
    if (bytesRead === 0) return Buffer.concat(chunks);
    chunks.push(chunk.subarray(0, bytesRead));
    position += bytesRead;
  }
}

function* nonEmpty(chunk: Buffer): Generator<Buffer> {
  if (chunk.length > 0) yield chunk;
}
