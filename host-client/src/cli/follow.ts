import { HawserError, type TerminalSize } from '@hawser/protocol';
import type { Session } from '../index.js';
import type { Outcome } from './carry.js';
import { carry } from './carry.js';
import { exitCodes, isUnknown, recordExitCode, signalExitCode } from './exit-code.js';
import { InputCopy } from './input-copy.js';
import { printError, printJson, printLine } from './report.js';
import type { SignalForwarder } from './signal-forwarder.js';
import { SizeForwarder } from './size-forwarder.js';
import type { LocalTerminal } from './terminal.js';

export interface FollowOptions {
  readonly signals: SignalForwarder;
  /** It is raw, and is put back at the end. */
  readonly terminal: LocalTerminal | undefined;
  /** Bytes; looked for where the terminal is raw. */
  readonly detachKeys: Uint8Array;
  /** Whether signals go to the command; else they end the following. */
  readonly forwardSignals: boolean;
  /** Those that end the following in any case. */
  readonly leaveOn: ReadonlySet<string>;
  /** The session's terminal follows the size of the local one, which was this when it was started. */
  readonly size: { readonly sent: TerminalSize | undefined } | undefined;
  readonly json: boolean;
}

/** How long a command that was killed because nobody reads its output is waited for. */
const killedWaitMs = 2000;

/** Carries the streams and signals of a session until it ends or is detached from. @returns the exit code. */
export async function follow(session: Session, options: FollowOptions): Promise<number> {
  const { terminal, signals } = options;
  let forwards = options.forwardSignals;
  let leftBy: string | undefined;
  signals.attach({
    exited: session.exited,
    kill: () => (forwards ? session.kill() : session.detach()),
    signal: (name, target) => {
      if (forwards && !options.leaveOn.has(name)) return session.signal(name, target);
      leftBy ??= name;
      return session.detach();
    },
  });
  const input = session.stdin;
  if (input !== null)
    new InputCopy(input, {
      detachKeys: terminal === undefined ? new Uint8Array(0) : options.detachKeys,
      raw: terminal !== undefined,
      detach: () => void session.detach().catch(() => undefined), // it has ended: its exit says so
      takenOver: () => {
        // Nothing that is typed goes there any more; keys are signals again, and they end the following.
        forwards = false;
        terminal?.restore();
        void printLine('hawser: stdin_taken: another host writes to the session now, here it is only read');
      },
    }).start();
  const sizes = options.size && new SizeForwarder(session, options.size.sent);
  sizes?.start();
  let outcome: Outcome;
  try {
    outcome = await carry(session, () => (terminal?.isRaw === true ? '\r\n' : '\n'));
  } finally {
    sizes?.stop();
    terminal?.restore();
  }
  switch (outcome.at) {
    case 'exited':
      if (options.json) await printJson(outcome.record);
      else if (isUnknown(outcome.record)) await printLine(`hawser: ${unknownEnd}`);
      return recordExitCode(outcome.record);
    case 'detached':
      await printLine(`hawser: detached from session ${session.id}`);
      return leftBy === undefined ? 0 : signalExitCode(leftBy);
    case 'output_failed':
      await (options.leaveOn.size === 0 ? killAndWait(session) : session.detach().catch(() => undefined));
      return outputFailed(outcome.error);
  }
}

const unknownEnd =
  'the command has ended, how is not known: somebody else in the guest waited for its process';

async function killAndWait(session: Session): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const waited = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, killedWaitMs);
  });
  // A lost connection ends the wait just as well.
  const ended = session
    .kill()
    .then(() => session.exited)
    .catch(() => undefined);
  await Promise.race([ended, waited]);
  clearTimeout(timer);
}

/** A reader that went away (`| head -1`) or a terminal that was closed is nothing to complain about. */
export async function outputFailed(error: NodeJS.ErrnoException): Promise<number> {
  if (error.code === 'EPIPE' || error.code === 'EIO' || error.code === 'ECONNRESET')
    return exitCodes.outputClosed;
  await printError(new Error(`the output could not be written: ${error.message}`), undefined);
  return exitCodes.hawserFailed;
}

/** What `-it` needs and is not there. */
export function noTerminal(): HawserError {
  return new HawserError(
    'invalid_argument',
    'the input device is not a TTY: leave out -t, or run it in a terminal',
  );
}
