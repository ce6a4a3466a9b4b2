import { HawserError } from '@hawser/protocol';
import type { Agent } from '../index.js';
import { exitCodes } from './exit-code.js';
import { findSession } from './find-session.js';
import { harmless, printError, printOutput } from './report.js';

type Outcome = { readonly text: string } | { readonly error: unknown };

/**
 * Does `work` with each session, all at once, and prints what comes of each, in the order in which they were named. One
 * that fails does not keep the others.
 *
 * @returns the exit code: `hawserFailed` where any failed, `timedOut` where none did but by its timeout.
 */
export async function forEachSession(
  agent: Agent,
  names: readonly string[],
  work: (sessionId: string) => Promise<string>,
): Promise<number> {
  const outcomes = names.map((name) =>
    findSession(agent, name)
      .then(work)
      .then(
        (text): Outcome => ({ text }),
        (error: unknown): Outcome => ({ error }),
      ),
  );
  const codes: number[] = [];
  for (const pending of outcomes) codes.push(await report(await pending));
  return Math.max(...codes);
}

async function report(outcome: Outcome): Promise<number> {
  if ('text' in outcome) {
    await printOutput(harmless(outcome.text));
    return 0;
  }
  const { error } = outcome;
  await printError(error, undefined);
  const late = error instanceof HawserError && error.code === 'timed_out';
  return late ? exitCodes.timedOut : exitCodes.hawserFailed;
}
