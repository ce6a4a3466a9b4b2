import type { HawserError, Payload } from '@hawser/protocol';
import type { Questions } from '../questions.js';
import type { SessionStats } from './process-tree.js';

/** What sessions used at one moment. */
export interface StatsSample {
  /** By the guest's clock. */
  readonly at: Date;
  /** Of every session that has processes, the oldest first. */
  readonly sessions: readonly (SessionStats & { readonly id: string })[];
  /** Further sessions, for which one message has no room. */
  readonly omitted: number;
}

export function statsSample({ atUs, sessions, omitted }: Payload<'AllStatsReply'>): StatsSample {
  return {
    at: new Date(atUs / 1000),
    sessions: sessions.map(({ sessionId, ...stats }) => ({ id: sessionId, ...stats })),
    omitted: omitted ?? 0,
  };
}

/** Samples as they come. Only the newest is kept for whoever asks for the next. */
export class StatsSeries implements AsyncIterable<StatsSample> {
  readonly #questions: Questions;
  readonly #request: Payload<'AllStats'>;
  readonly #signal: AbortSignal | undefined;

  constructor(questions: Questions, request: Payload<'AllStats'>, signal: AbortSignal | undefined) {
    this.#questions = questions;
    this.#request = request;
    this.#signal = signal;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<StatsSample, void, undefined> {
    const signal = this.#signal;
    let newest: StatsSample | undefined;
    let error: HawserError | undefined;
    let wake = (): void => {};
    const number = this.#questions.askSeries('AllStats', this.#request, {
      answered: (message) => {
        if (message.name === 'AllStatsReply') newest = statsSample(message.body);
        wake();
        return true;
      },
      failed: (reason) => {
        error = reason;
        wake();
      },
    });
    const onAbort = (): void => wake();
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      while (signal?.aborted !== true) {
        const sample = newest;
        newest = undefined;
        if (sample !== undefined) yield sample;
        else if (error !== undefined) throw error;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      signal?.removeEventListener('abort', onAbort);
      this.#questions.forget(number);
      if (error === undefined) this.#stop(number);
    }
  }

  /** Nobody waits for that: a series that is not there any more, or a connection that is over, is stopped as well. */
  #stop(series: number): void {
    this.#questions.ask('StopStats', { series }, 'Done').catch(() => {});
  }
}
