import type { Clock } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import { EAGAIN, EMFILE, errnoName } from '../ffi/errno.js';
import * as native from '../ffi/native.js';
import type { Poller, Watch } from '../processes/poller.js';
import { POLL_IN } from '../processes/poller.js';

/** Accepted at one wake at most. */
const wakeAcceptsMax = 64;
/** Without descriptors or memory nothing is accepted for so long: the waiting peer would wake us without end. */
const restMs = 100;

export interface ListenerOptions {
  readonly poller: Poller;
  readonly clock: Clock;
  readonly name: string;
  /** The descriptor is the callee's. `peer` as in `native.accept`, valid during the call. */
  accepted(fd: number, peer: BigInt64Array): void;
  failed(error: HawserError): void;
}

/** Accepts on a listening descriptor, which it owns. */
export class Listener {
  readonly #fd: number;
  readonly #options: ListenerOptions;
  readonly #watch: Watch;
  readonly #peer = new BigInt64Array(4);
  #state: { at: 'accepting' } | { at: 'resting'; cancel: () => void } | { at: 'closed' } = {
    at: 'accepting',
  };

  constructor(fd: number, options: ListenerOptions) {
    this.#fd = fd;
    this.#options = options;
    this.#watch = options.poller.watch(fd, POLL_IN, () => this.#accept());
  }

  close(): void {
    if (this.#state.at === 'closed') return;
    if (this.#state.at === 'resting') this.#state.cancel();
    this.#state = { at: 'closed' };
    this.#watch.close();
  }

  #accept(): void {
    for (let accepts = 0; accepts < wakeAcceptsMax && this.#state.at === 'accepting'; accepts++) {
      const fd = native.accept(this.#fd, this.#peer);
      if (fd === -EAGAIN) return;
      if (fd < 0) {
        this.#rest(fd);
        return;
      }
      // Those that end what runs are not for peers.
      if (native.descriptorsToSpare() < 0) {
        native.close(fd);
        this.#rest(-EMFILE);
        return;
      }
      this.#options.accepted(fd, this.#peer);
    }
  }

  #rest(result: number): void {
    this.#watch.setInterest(0);
    const cancel = this.#options.clock.after(restMs, () => {
      this.#state = { at: 'accepting' };
      this.#watch.setInterest(POLL_IN);
    });
    this.#state = { at: 'resting', cancel };
    const errno = errnoName(result);
    this.#options.failed(
      new HawserError('system_call_failed', `${this.#options.name}: accept failed with ${errno}`, { errno }),
    );
  }
}
