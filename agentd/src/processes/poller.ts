import { HawserError } from '@hawser/protocol';
import { EEXIST, systemCallError } from '../ffi/errno.js';
import * as native from '../ffi/native.js';

export const POLL_IN = 1;
export const POLL_PRI = 2;
export const POLL_OUT = 4;
export const POLL_ERR = 8;
export const POLL_HUP = 16;

const controlAdd = 1;
const controlDelete = 2;
const controlModify = 3;

/**
 * The event loop's eye on raw descriptors: pipes, pidfds, terminals, serial ports, vsock.
 *
 * Node watches a few kinds of descriptor, each through a stream that reads and buffers by itself.
 * This watches any that epoll takes, and only says that they are ready. An epoll descriptor is
 * itself pollable: native/node_api.c has one and makes libuv poll it (uv_poll_t), which is the one
 * handle for all. No thread, nothing when idle.
 *
 * Level-triggered: who is told and does nothing about it is told again at once.
 */
export class Poller {
  /** How often the event loop was woken. An idle poller's stands still. */
  wakes = 0;
  readonly #epoll: number;
  /** By descriptor number: the one watch whose events count. */
  readonly #watches: (Watch | undefined)[] = [];
  readonly #events = new Uint32Array(native.epollEventsMax * 3);
  #generation = 0;
  #closed = false;

  private constructor() {
    this.#epoll = native.pollerOpen(this.#events, (count) => this.#wake(count));
    if (this.#epoll < 0) throw systemCallError('epoll_create1', this.#epoll, 'poller');
  }

  /** Keeps the process alive until `close`. */
  static open(): Poller {
    return new Poller();
  }

  /**
   * Calls back whenever one of the `interest`, an error or a hang-up is there, until `stop`.
   *
   * The descriptor stays the caller's; stop the watch before closing it. A number that was closed
   * without that and given out anew may be watched anew: the old watch is dead from then on.
   */
  watch(fd: number, interest: number, callback: (events: number) => void): Watch {
    if (this.#closed) throw new HawserError('internal', `descriptor ${fd} watched on a closed poller`);
    const watch = new Watch(this, fd, callback);
    this.#watches[fd] = watch;
    try {
      watch.setInterest(interest);
    } catch (error) {
      this.#watches[fd] = undefined;
      throw error;
    }
    return watch;
  }

  /** Stops every watch; what was watched stays open. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watches.length = 0;
    native.pollerClose(this.#epoll);
  }

  /** @internal For `Watch`: brings the kernel's set from one interest to another. */
  change(watch: Watch, before: number, after: number): void {
    if (this.#watches[watch.fd] !== watch || before === after) return;
    if (after === 0) {
      // Fails where the descriptor is closed already, and is then out of the set.
      native.epollControl(this.#epoll, controlDelete, watch.fd, 0, 0);
      return;
    }
    if (before === 0) watch.generation = this.#generation = (this.#generation + 1) >>> 0;
    let result = native.epollControl(
      this.#epoll,
      before === 0 ? controlAdd : controlModify,
      watch.fd,
      after,
      watch.generation,
    );
    // Another watch of this descriptor was left there; this one takes its place.
    if (result === -EEXIST)
      result = native.epollControl(this.#epoll, controlModify, watch.fd, after, watch.generation);
    if (result < 0) throw systemCallError('epoll_ctl', result, `descriptor ${watch.fd}`);
  }

  /** @internal For `Watch`. */
  forget(watch: Watch): void {
    if (this.#watches[watch.fd] === watch) this.#watches[watch.fd] = undefined;
  }

  #wake(count: number): void {
    if (this.#closed) return;
    this.wakes++;
    if (count < 0) throw systemCallError('epoll_wait', count, 'poller');
    const events = this.#events;
    // The latest first: a process that dies closes its outputs and is dead then, and whoever is told of its death
    // finds the outputs' ends without being told of each.
    for (let at = (count - 1) * 3; at >= 0; at -= 3) {
      // A callback before this one may have stopped the watch, or closed the descriptor and have
      // watched another under its number: then the generations differ.
      const watch = this.#watches[events[at] as number];
      if (watch === undefined || watch.generation !== events[at + 1]) continue;
      watch.deliver(events[at + 2] as number);
    }
  }
}

/** One watched descriptor. */
export class Watch {
  readonly fd: number;
  /** @internal Which registration of the number an event belongs to. */
  generation = 0;
  readonly #poller: Poller;
  readonly #callback: (events: number) => void;
  #interest = 0;

  /** @internal By `Poller.watch` only. */
  constructor(poller: Poller, fd: number, callback: (events: number) => void) {
    this.#poller = poller;
    this.fd = fd;
    this.#callback = callback;
  }

  /**
   * `POLL_IN`, `POLL_OUT` or both. 0 takes the descriptor out of the set, since errors and
   * hang-ups cannot be masked and would be reported without end.
   */
  setInterest(interest: number): void {
    this.#poller.change(this, this.#interest, interest);
    this.#interest = interest;
  }

  /** No callback after this. Idempotent. */
  stop(): void {
    this.setInterest(0);
    this.#poller.forget(this);
  }

  /**
   * Stops, and closes the descriptor. To close it is not enough: a child that is being started has a copy until it has
   * closed it, which keeps it in the kernel's set, where nobody could take it out by a number that is closed.
   */
  close(): void {
    this.stop();
    native.close(this.fd);
  }

  /** @internal An exception is the callback's, not the other watches': it goes to the process. */
  deliver(events: number): void {
    const wanted = this.#interest === 0 ? 0 : events & (this.#interest | POLL_ERR | POLL_HUP);
    if (wanted === 0) return;
    try {
      this.#callback(wanted);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}
