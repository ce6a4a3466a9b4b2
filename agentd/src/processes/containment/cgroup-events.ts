import { ENODEV, systemCallError } from '../../ffi/errno.js';
import * as native from '../../ffi/native.js';
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

/** Bits of `native.cgroupEvents`. */
const populatedBit = 1;
const frozenBit = 2;

/**
 * Waits for a cgroup to become empty, or frozen. The kernel says so by POLLPRI on cgroup.events, and
 * at most once in 10 ms (CGROUP_FILE_NOTIFY_MIN_INTV). The file is watched only while somebody waits.
 */
export class CgroupEvents {
  readonly #fd: number;
  readonly #poller: Poller;
  readonly #waiters = new Set<Waiter>();
  #watch: Watch | undefined;

  /** @param fd of the cgroup's cgroup.events, which stays the caller's. */
  constructor(poller: Poller, fd: number) {
    this.#fd = fd;
    this.#poller = poller;
  }

  /** As the file says now. A cgroup that is gone has nobody in it. */
  get state(): CgroupState {
    const result = native.cgroupEvents(this.#fd);
    if (result < 0 && result !== -ENODEV) throw systemCallError('pread', result, 'cgroup.events');
    const bits = Math.max(0, result);
    return { populated: (bits & populatedBit) !== 0, frozen: (bits & frozenBit) !== 0 };
  }

  /** Somebody waits: the descriptor is still needed. */
  get awaited(): boolean {
    return this.#waiters.size > 0;
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
    this.#watch ??= this.#poller.watch(this.#fd, POLL_PRI, () => this.check());
    const { state } = this;
    for (const waiter of this.#waiters) {
      if (!waiter.met(state)) continue;
      this.#waiters.delete(waiter);
      waiter.resolve();
    }
    if (this.#waiters.size > 0) return;
    this.#watch.stop();
    this.#watch = undefined;
  }
}
