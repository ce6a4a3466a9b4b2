import type { Clock, Connection, Message } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import type { Log } from './log.js';

/** The same fault, over and over, is logged so often at most, ms. */
const repeatIntervalMs = 1_000;

/** Errors beneath an error that are logged with it. */
const causesMax = 4;

/** A message that is itself an answer: nobody waits for one to it. */
const answers: ReadonlySet<Message['name']> = new Set<Message['name']>(['Done', 'Failure']);

/**
 * Faults of the agent itself: what was thrown and is nothing that a host did wrong, nor the kernel refused. Each is
 * logged with its stack; whoever waits for an answer gets one, and the agent goes on.
 */
export class Faults {
  readonly #log: Log;
  readonly #clock: Clock;
  #last: { readonly stack: string; readonly at: number; repeats: number } | undefined;

  constructor(log: Log, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** From now on nothing that is thrown anywhere ends the process. */
  keepServing(): void {
    process.on('uncaughtException', (error) => this.report(error, 'an exception that nobody caught'));
    process.on('unhandledRejection', (error) => this.report(error, 'a rejection that nobody handled'));
  }

  /** @param where what was being done. Throws nothing, whatever becomes of the log. */
  report(error: unknown, where: string): void {
    const stack = stackOf(error);
    const now = this.#clock.now();
    const last =
      this.#last?.stack === stack && now < this.#last.at + repeatIntervalMs ? this.#last : undefined;
    if (last !== undefined) {
      last.repeats++;
      return;
    }
    const repeats = this.#last?.repeats;
    this.#last = { stack, at: now, repeats: 0 };
    try {
      this.#log.error(
        { where, repeatsBefore: repeats === 0 ? undefined : repeats, error: stack },
        'internal error',
      );
    } catch {
      // A log that fails is the last place where that could be told.
    }
  }

  /** Answers a message whose handling has thrown: a fault is reported, and goes to the host as `internal`. */
  answer(connection: Connection, channel: number, message: Message, thrown: unknown): void {
    const { code, message: text, errno, stage } = asHawserError(thrown, message.name);
    if (code === 'internal') this.report(thrown, message.name);
    if (!connection.open || answers.has(message.name)) return;
    const refusal = { code, message: text, errno };
    if (message.name === 'ExecRequest')
      connection.send(channel, 'ExecFailed', { ...refusal, stage: stage ?? 'validate' });
    else connection.send(channel, 'Failure', { ...refusal, re: message.number });
  }
}

/** @param where what was being done, for the text of a fault. */
export function asHawserError(error: unknown, where: string): HawserError {
  if (error instanceof HawserError) return error;
  return new HawserError('internal', `internal error of the agent, ${where}: ${String(error)}`, {
    cause: error,
  });
}

/** The stack, and those of the errors beneath. Nothing else of an error is logged: it may hold what passes through. */
function stackOf(error: unknown): string {
  const stacks: string[] = [];
  for (let at = error; at !== undefined && stacks.length <= causesMax; ) {
    stacks.push(
      at instanceof Error ? (at.stack ?? String(at)) : typeof at === 'string' ? at : `a thrown ${typeof at}`,
    );
    at = at instanceof Error ? at.cause : undefined;
  }
  return stacks.join('\ncaused by ');
}
