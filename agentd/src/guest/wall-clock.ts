/** The clocks of a machine, microseconds. */
export interface Clocks {
  /** Since 1970. */
  realtimeUs(): number;
  /** Of a clock that is never set. */
  monotonicUs(): number;
  /** Sets the first. @throws HawserError when the kernel refuses. */
  setRealtime(us: number): void;
}

export interface WallClockOptions {
  readonly clocks: Clocks;
  /** Off by more than this is wrong, ms. */
  readonly thresholdMs: number;
  /** Whether this agent may set the guest's clock to the host's. */
  readonly maySet: boolean;
  /** The time jumped: the guest was restored, or stopped for long, or somebody set its clock. */
  jumped(byMs: number): void;
  /** The guest's clock was set. */
  corrected(byMs: number): void;
  /** The kernel did not let it be set. */
  refused(error: unknown): void;
}

/** A greeting may wait so long on a slow line, with the time at which it was sent in it. */
const greetingWaitUsMax = 30_000_000;

/**
 * The guest's time of day, as its hosts and its own monotonic clock see it.
 *
 * A guest that is restored from a snapshot goes on in the past and cannot tell by itself: its clocks stood
 * still together. Its host can, whose clock comes with every greeting. A guest that was stopped with its
 * hypervisor's clock running, and one whose clock was set, sees the two clocks part.
 */
export class WallClock {
  readonly #options: WallClockOptions;
  #epoch = 0;
  /** Of the time of day beyond the monotonic clock, when it was last looked. */
  #offsetUs: number;
  /** The most that a host's time was beyond the monotonic clock, and when that was heard. */
  #host: { readonly offsetUs: number; readonly heardAtUs: number } | undefined;
  /** A host's clock has agreed with ours before: when one does not any more, time has jumped. */
  #agreed = false;

  constructor(options: WallClockOptions) {
    this.#options = options;
    this.#offsetUs = this.#offset();
  }

  /** Counts how often time has jumped since the agent was started. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Looks whether the time of day has moved against the monotonic clock. To be called now and then. */
  look(): void {
    const offsetUs = this.#offset();
    const byMs = (offsetUs - this.#offsetUs) / 1000;
    this.#offsetUs = offsetUs;
    if (Math.abs(byMs) > this.#options.thresholdMs) this.#jump(byMs);
  }

  /** A host says what time it is. */
  heard(hostUs: number): void {
    this.look();
    const { clocks, thresholdMs, maySet } = this.#options;
    if (this.#hasWaited(hostUs - clocks.monotonicUs())) return;
    const byMs = (hostUs - clocks.realtimeUs()) / 1000;
    if (Math.abs(byMs) <= thresholdMs) {
      this.#agreed = true;
      return;
    }
    if (this.#agreed) this.#jump(byMs);
    if (!maySet) return;
    try {
      clocks.setRealtime(hostUs);
    } catch (error) {
      this.#options.refused(error);
      return;
    }
    this.#agreed = true;
    this.#offsetUs = this.#offset();
    this.#options.corrected(byMs);
  }

  /**
   * Whether that time is an old one: what was heard not long ago was later. A guest whose hosts' greetings wait on
   * slow lines would set its clock to and fro.
   */
  #hasWaited(offsetUs: number): boolean {
    const heardAtUs = this.#options.clocks.monotonicUs();
    const behindUs = this.#host === undefined ? 0 : this.#host.offsetUs - offsetUs;
    const isRecent = this.#host !== undefined && heardAtUs - this.#host.heardAtUs <= greetingWaitUsMax;
    if (isRecent && behindUs > 0 && behindUs <= greetingWaitUsMax)
      return behindUs > this.#options.thresholdMs * 1000;
    this.#host = { offsetUs, heardAtUs };
    return false;
  }

  #jump(byMs: number): void {
    // Until a host agrees again, it is the same jump that is seen.
    this.#agreed = false;
    this.#epoch++;
    this.#options.jumped(byMs);
  }

  #offset(): number {
    return this.#options.clocks.realtimeUs() - this.#options.clocks.monotonicUs();
  }
}
