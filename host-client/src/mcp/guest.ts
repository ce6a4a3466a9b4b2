import { HawserError } from '@hawser/protocol';
import type { Agent } from '../agent.js';

/** Calls that come while the line is lost wait so long for it; a client gives up after 60 s. */
const resumeWaitMs = 20_000;

/** The agent as the tools see it: reached, being looked for, or gone. */
export class Guest {
  readonly #agent: Agent;
  /** Why the connection is over. */
  #lost: HawserError | undefined;
  readonly #waiting = new Set<() => void>();

  constructor(agent: Agent) {
    this.#agent = agent;
    void this.#end();
  }

  async #end(): Promise<void> {
    this.#lost = await this.#agent.closed;
    this.changed();
  }

  /** To be called when the agent's state has changed. */
  changed(): void {
    for (const wake of this.#waiting) wake();
  }

  /**
   * Resolves when requests can be sent. Nothing is queued for an agent that is not reached: a request whose caller has
   * given up must not be carried out later.
   *
   * @throws HawserError `connection_lost` when it is over, `timed_out` when it is not reached for a while, `aborted`.
   */
  async reached(signal: AbortSignal): Promise<Agent> {
    await this.#resumed(signal);
    if (this.#lost !== undefined) throw over(this.#lost);
    if (signal.aborted) throw new HawserError('aborted', 'the call was cancelled', { cause: signal.reason });
    if (this.#agent.state === 'resuming')
      throw new HawserError(
        'timed_out',
        `the line ${this.#agent.line} is lost and is being opened again; nothing was done`,
      );
    return this.#agent;
  }

  /** Waits while the line is lost, for a while. */
  async #resumed(signal: AbortSignal): Promise<void> {
    let wake = (): void => {};
    let isTimeOver = false;
    const timer = setTimeout(() => {
      isTimeOver = true;
      wake();
    }, resumeWaitMs);
    const onChange = (): void => wake();
    this.#waiting.add(onChange);
    signal.addEventListener('abort', onChange);
    try {
      while (this.#agent.state === 'resuming' && !isTimeOver && !signal.aborted)
        await new Promise<void>((resolve) => (wake = resolve));
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(onChange);
      signal.removeEventListener('abort', onChange);
    }
  }
}

function over(reason: HawserError): HawserError {
  return new HawserError('connection_lost', `the connection to the guest is over: ${reason.message}`, {
    cause: reason,
  });
}
