import { ENODEV, ENOENT, systemCallError } from '../../ffi/errno.js';
import * as native from '../../ffi/native.js';
import type { Poller, Watch } from '../poller.js';
import { POLL_PRI } from '../poller.js';
import type { CgroupLeaf } from './cgroup-leaf.js';

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
  readonly #leaf: CgroupLeaf;
  readonly #poller: Poller;
  readonly #waiters = new Set<Waiter>();
  #watch: Watch | undefined;

  constructor(poller: Poller, leaf: CgroupLeaf) {
    this.#leaf = leaf;
    this.#poller = poller;
  }

  /** As the file says now. A cgroup that is gone has nobody in it. */
  get state(): CgroupState {
    const fd = this.#leaf.events;
    const result = fd < 0 ? fd : native.cgroupEvents(fd);
    if (result < 0 && result !== -ENODEV && result !== -ENOENT)
      throw systemCallError('read', result, `${this.#leaf.directory.path}/cgroup.events`);
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
    const fd = this.#leaf.events;
    if (fd >= 0) this.#watch ??= this.#poller.watch(fd, POLL_PRI, () => this.check());
    const { state } = this;
    for (const waiter of this.#waiters) {
      if (!waiter.met(state)) continue;
      this.#waiters.delete(waiter);
      waiter.resolve();
    }
    if (this.#waiters.size > 0) return;
    this.#watch?.stop();
    this.#watch = undefined;
  }
}
