import type { Agent, StatsSample } from '../index.js';
import { KnownSessions } from './known-sessions.js';
import { type Usage, usages } from './usage.js';

/** What was used between two samples. */
export interface Measured {
  readonly usages: readonly Usage[];
  /** Further sessions, of which nothing is known. */
  readonly omitted: number;
  /** There was a sample before it: processor use is known. */
  readonly compared: boolean;
}

/** Each sample against the one before it, until the signal is aborted. */
export async function* usageSeries(
  agent: Agent,
  intervalMs: number,
  signal?: AbortSignal,
): AsyncGenerator<Measured, void, undefined> {
  const known = new KnownSessions(agent);
  let before: StatsSample | undefined;
  for await (const sample of agent.sessions.watchStats({ intervalMs, ...(signal && { signal }) })) {
    const compared = before !== undefined;
    yield { usages: usages(sample, before, await known.of(sample)), omitted: sample.omitted, compared };
    before = sample;
  }
}
