import { closeSync, openSync, readSync } from 'node:fs';
import type { Poller, Watch } from '../poller.js';
import { POLL_PRI } from '../poller.js';

/** The lines of a cgroup.events file. */
export interface CgroupState {
  /** A process lives in the cgroup or below it. */
  readonly populated: boolean;
  /** It was to be frozen, and all of its processes stand. */
  readonly frozen: boolean;
}

interface Waiter {
  readonly met: (state: CgroupState) => boolean;
  readonly resolve: () => void;
}

const bytes = Buffer.allocUnsafeSlow(256);

/**
 * Waits for a cgroup to become empty, or frozen. The kernel says so by POLLPRI on cgroup.events, and
 * at most once in 10 ms (CGROUP_FILE_NOTIFY_MIN_INTV). The file is open only while somebody waits.
 */
export class CgroupEvents {
  readonly #path: string;
  readonly #poller: Poller;
  readonly #waiters = new Set<Waiter>();
  #open: { fd: number; watch: Watch } | undefined;

  constructor(poller: Poller, directory: string) {
    this.#path = `${directory}/cgroup.events`;
    this.#poller = poller;
  }

  /** Resolves as soon as the state is so; a cgroup that is gone has nobody in it. */
  until(met: (state: CgroupState) => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters.add({ met, resolve });
      this.check();
    });
  }

  /** Looks now: somebody knows that something has changed. */
  check(): void {
    if (this.#waiters.size === 0) return;
    // Watched first, then read: a change after the reading wakes.
    const state = this.#read();
    for (const waiter of this.#waiters) {
      if (!waiter.met(state)) continue;
      this.#waiters.delete(waiter);
      waiter.resolve();
    }
    if (this.#waiters.size === 0) this.#close();
  }

  #read(): CgroupState {
    try {
      if (this.#open === undefined) {
        const fd = openSync(this.#path, 'r');
        this.#open = { fd, watch: this.#poller.watch(fd, POLL_PRI, () => this.check()) };
      }
      const text = bytes.toString('latin1', 0, readSync(this.#open.fd, bytes, 0, bytes.length, 0));
      return { populated: text.includes('populated 1'), frozen: text.includes('frozen 1') };
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENODEV') return { populated: false, frozen: false };
      throw error;
    }
  }

  #close(): void {
    if (this.#open === undefined) return;
    this.#open.watch.stop();
    closeSync(this.#open.fd);
    this.#open = undefined;
  }
}
