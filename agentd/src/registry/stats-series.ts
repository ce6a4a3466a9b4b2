import type { Clock, Connection, Payload } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import type { Containment } from '../processes/containment/containment.js';
import type { ProcessTree } from '../processes/containment/process-tree.js';
import type { Registry } from './registry.js';

type Sample = Omit<Payload<'AllStatsReply'>, 're'>;

/** In one reply; it then has some 300 kB. */
const sessionsMax = 2_048;
const intervalMsMin = 100;
const intervalMsMax = 3_600_000;
/** Of one connection. */
const seriesMax = 16;

/**
 * What sessions use, all of those that have processes, though their leaders may be dead.
 *
 * @throws HawserError `unknown_session`, `session_ended` for a single one.
 */
export function allStats(
  registry: Registry,
  containment: Containment,
  { sessionId, labels }: Pick<Payload<'AllStats'>, 'sessionId' | 'labels'>,
): Sample {
  const sessions = sessionId === undefined ? registry.select({ labels }) : [registry.find(sessionId)];
  const trees: { readonly id: string; readonly tree: ProcessTree }[] = [];
  for (const { id } of sessions) {
    const tree = containment.find(id);
    if (tree !== undefined && !tree.over) trees.push({ id, tree });
  }
  if (sessionId !== undefined && trees.length === 0)
    throw new HawserError('session_ended', `no process of session ${sessionId} is left`);
  const told = trees.slice(0, sessionsMax);
  return {
    atUs: Date.now() * 1000,
    sessions: told.map(({ id, tree }) => ({ sessionId: id, confidence: tree.confidence, ...tree.stats() })),
    omitted: trees.length > told.length ? trees.length - told.length : undefined,
  };
}

export interface StatsSeriesOptions {
  readonly clock: Clock;
  /** Without it there is nobody to tell. */
  readonly connection: Connection;
  readonly intervalMs: number;
  /** @throws HawserError, which ends the series. */
  readonly sample: () => Sample;
  readonly tell: (sample: Sample) => void;
  readonly failed: (error: HawserError) => void;
}

/** Samples for one host, at an interval, until it has enough. While its line is lost, or it is slow, there are none. */
export class StatsSeries {
  readonly #options: StatsSeriesOptions;
  readonly #onStopped: () => void;
  #cancel: (() => void) | undefined;

  private constructor(options: StatsSeriesOptions, onStopped: () => void) {
    this.#options = options;
    this.#onStopped = onStopped;
  }

  /**
   * The first sample is taken at once.
   *
   * @param all of the same connection; it is one of them, until it has stopped.
   * @throws HawserError `invalid_argument`, `limit_exceeded`, and what `sample` throws.
   */
  static start(all: Map<number, StatsSeries>, number: number, options: StatsSeriesOptions): void {
    const { intervalMs } = options;
    if (intervalMs < intervalMsMin || intervalMs > intervalMsMax)
      throw new HawserError(
        'invalid_argument',
        `intervalMs ${intervalMs} is not from ${intervalMsMin} to ${intervalMsMax}`,
      );
    if (all.size >= seriesMax)
      throw new HawserError('limit_exceeded', `${all.size} series of statistics are under way already`);
    options.tell(options.sample());
    const series = new StatsSeries(options, () => all.delete(number));
    all.set(number, series);
    series.#wait();
  }

  stop(): void {
    this.#cancel?.();
    this.#onStopped();
  }

  #wait(): void {
    const { clock, intervalMs } = this.#options;
    this.#cancel = clock.after(intervalMs, () => this.#next());
  }

  #next(): void {
    const { connection, sample, tell, failed } = this.#options;
    if (!connection.open) {
      this.stop();
      return;
    }
    try {
      if (connection.connected && connection.unacknowledged < unacknowledgedMax) tell(sample());
    } catch (error) {
      this.stop();
      if (!(error instanceof HawserError)) throw error;
      failed(error);
      return;
    }
    this.#wait();
  }
}

/** A host that has so many messages to acknowledge has no use for another sample. */
const unacknowledgedMax = 16;
