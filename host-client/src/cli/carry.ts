import { HawserError } from '@hawser/protocol';
import type { ExitResult, Session } from '../index.js';
import type { Gap } from './output-copy.js';
import { OutputCopy, openLocalOutput } from './output-copy.js';
import { printLine } from './report.js';

export type Outcome =
  | { readonly at: 'exited'; readonly record: ExitResult }
  | { readonly at: 'detached' }
  | { readonly at: 'output_failed'; readonly error: NodeJS.ErrnoException };

/**
 * Carries the outputs until the command has ended and what it wrote is written here, or it was detached from.
 *
 * @param lineEnd `\r\n` while the local terminal is raw.
 */
export async function carry(session: Session, lineEnd: () => string): Promise<Outcome> {
  const { outputFrom } = session;
  const stdout = new OutputCopy(session.stdout, openLocalOutput(1), outputFrom.stdout, (gap) =>
    tellGap('stdout', gap, lineEnd()),
  );
  const stderr =
    session.stderr &&
    new OutputCopy(session.stderr, openLocalOutput(2), outputFrom.stderr, (gap) =>
      tellGap('stderr', gap, lineEnd()),
    );
  const broken = Promise.race([stdout.failed, ...(stderr ? [stderr.failed] : [])]).then(
    (error): Outcome => ({ at: 'output_failed', error }),
  );
  // What descendants write after the leader's end is not waited for: they may live for ever.
  const complete = session.exited.then(async (record): Promise<Outcome> => {
    await Promise.all([stdout.reached(record.stdout.bytes), stderr?.reached(record.stderr.bytes)]);
    return { at: 'exited', record };
  });
  try {
    return await Promise.race([complete, broken]);
  } catch (error) {
    await Promise.race([Promise.all([stdout.flushed(), stderr?.flushed()]), broken]);
    if (error instanceof HawserError && error.code === 'detached') return { at: 'detached' };
    throw error;
  }
}

/** Never silently: what is missing is said where it is missed, as nearly as two outputs allow. */
export function tellGap(name: string, { from, to }: Gap, lineEnd: string): void {
  const begin = lineEnd === '\n' ? '' : lineEnd;
  void printLine(
    `${begin}hawser: ${to - from} bytes of ${name} are missing here, from ${from} to ${to}: they are not kept any more`,
    lineEnd,
  );
}
