import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { JobKernel } from '../../ffi/job-object.js';
import { JobObject } from '../../ffi/job-object.js';
import type { ProcessTree, TreeSpawnOptions } from './process-tree.js';

const lookAgainMs = 5;

type Spawn = (file: string, args: readonly string[], options: SpawnOptions) => ChildProcess;

/**
 * Two job objects, both with kill-on-close, one inside the other (Windows 8 and later nest them).
 *
 * The outer one holds this process too, so whatever it starts is born in it, and dies with this process.
 * The inner one holds the members only, and is what `kill` terminates. A member is put into it after it
 * was started, since Node cannot start a process suspended: a grandchild that it makes in between is in the
 * outer job alone, so `kill` misses it, and the end of this process, or `close`, does not.
 *
 * Not for a process that has other children to keep: the supervisor of one VM has none.
 */
export class WindowsProcessTree implements ProcessTree {
  readonly #outer: JobObject;
  readonly #inner: JobObject;
  readonly #spawn: Spawn;

  /** @param kernel kernel32, or what stands for it in a test */
  constructor(kernel: JobKernel, spawnProcess: Spawn = spawn) {
    this.#spawn = spawnProcess;
    this.#inner = JobObject.create(kernel);
    let outer: JobObject | undefined;
    try {
      outer = JobObject.create(kernel);
      // The last step: from here on, closing the outer job would end this process.
      outer.assignSelf();
    } catch (error) {
      outer?.close();
      this.#inner.close();
      throw error;
    }
    this.#outer = outer;
  }

  async spawn(file: string, args: readonly string[], options: TreeSpawnOptions): Promise<ChildProcess> {
    const child = this.#spawn(file, args, {
      cwd: options.cwd,
      stdio: options.stdio,
      windowsHide: true,
      ...(options.env !== undefined && { env: options.env }),
    });
    await once(child, 'spawn');
    try {
      this.#inner.assign(child.pid as number);
    } catch (error) {
      // One that has ended by itself is no failure of ours: its exit code says more.
      if (child.exitCode !== null || child.signalCode !== null) return child;
      child.kill('SIGKILL');
      throw error;
    }
    return child;
  }

  async kill(): Promise<void> {
    this.#inner.terminate();
    while (this.#inner.activeProcesses > 0) await delay(lookAgainMs);
  }

  /** How many processes the end of this one would end, itself included. */
  get heldProcesses(): number {
    return this.#outer.activeProcesses;
  }

  /**
   * Closes the inner job. The outer one stays open on purpose: this process is in it, and its last handle
   * being closed would kill this process. The kernel closes it when this process ends.
   */
  close(): void {
    this.#inner.close();
  }
}
