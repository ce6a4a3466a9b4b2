import { readdirSync, readFileSync } from 'node:fs';
import * as native from '../ffi/native.js';

/**
 * Reaps what nobody else waits for: processes whose parents died and which the kernel handed to
 * this process, because it is PID 1 or a subreaper. To be started only where it is one.
 *
 * `isOwned` says which children somebody else waits for: the sessions' leaders (through their
 * pidfds) and whatever libuv spawned. Those are never touched.
 */
export class OrphanReaper {
  readonly #isOwned: (pid: number) => boolean;
  readonly #onReaped: ((pid: number) => void) | undefined;
  readonly #onChild = (): void => this.sweep();
  #started = false;

  constructor(isOwned: (pid: number) => boolean, onReaped?: (pid: number) => void) {
    this.#isOwned = isOwned;
    this.#onReaped = onReaped;
  }

  /** Listens to SIGCHLD, and sweeps once for what died before. */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    process.on('SIGCHLD', this.#onChild);
    this.sweep();
  }

  stop(): void {
    this.#started = false;
    process.removeListener('SIGCHLD', this.#onChild);
  }

  /**
   * Reaps every zombie that is not owned.
   *
   * The kernel names one zombie at a time and always the same one until it is reaped, so an owned
   * one would hide those behind it: then the children are gone through by name instead.
   */
  sweep(): void {
    for (let pid = native.nextZombie(); pid > 0; pid = native.nextZombie()) {
      if (this.#isOwned(pid)) {
        this.#sweepByName();
        return;
      }
      if (!this.#reap(pid)) return;
    }
  }

  #sweepByName(): void {
    for (const pid of children()) {
      if (!this.#isOwned(pid)) this.#reap(pid);
    }
  }

  #reap(pid: number): boolean {
    if (native.reap(pid) !== 1) return false;
    this.#onReaped?.(pid);
    return true;
  }
}

/**
 * The children of every thread of this process (proc_pid_children(5); libuv's threads may have
 * some). Where the kernel is built without it (CONFIG_PROC_CHILDREN): whoever has us as parent.
 */
function children(): number[] {
  const found: number[] = [];
  try {
    for (const thread of readdirSync('/proc/self/task')) {
      const text = readIfThere(`/proc/self/task/${thread}/children`);
      if (text === undefined) return childrenByParent();
      for (const pid of text.split(' ')) if (pid !== '') found.push(Number(pid));
    }
  } catch {
    return []; // No /proc: the owned zombie is reaped by its owner, and the next SIGCHLD sweeps on.
  }
  return found;
}

function childrenByParent(): number[] {
  const found: number[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = readIfThere(`/proc/${name}/stat`);
    // pid (comm) state ppid: comm may hold anything, a closing parenthesis included.
    const parent = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[1];
    if (parent !== undefined && Number(parent) === process.pid) found.push(Number(name));
  }
  return found;
}

/** Processes and threads come and go while /proc is read. */
function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}
