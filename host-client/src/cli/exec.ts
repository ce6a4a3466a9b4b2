import { HawserError } from '@hawser/protocol';
import { type Agent, connect, type ExitResult, type Session } from '../index.js';
import type { RlimitSettings, SpawnOptions } from '../options.js';
import { errorExitCode, exitCodes, recordExitCode, signalExitCode } from './exit-code.js';
import { copyInput, releaseInput } from './input-copy.js';
import { OutputCopy, openLocalOutput } from './output-copy.js';
import { printError, printJson } from './report.js';
import { SignalForwarder } from './signal-forwarder.js';
import { SizeForwarder } from './size-forwarder.js';
import { LocalTerminal, localTerminalSize } from './terminal.js';

/** What the options that say how a command runs hold, under commander's names. */
export interface CommandFlags {
  readonly interactive?: true;
  readonly tty?: true;
  readonly env?: Readonly<Record<string, string>>;
  readonly inheritEnv?: true;
  readonly workdir?: string;
  readonly user?: string;
  readonly umask?: number;
  readonly rlimit?: RlimitSettings;
  readonly timeout?: number;
  readonly killSignal?: string;
  readonly json?: true;
}

/** Those of `hawser exec`. */
export interface ExecFlags extends CommandFlags {
  readonly token?: string;
  readonly connectTimeout: number;
}

export type CommandWords = readonly [cmd: string, ...args: string[]];

export interface ExecCall {
  readonly line: string;
  readonly command: CommandWords;
  readonly flags: ExecFlags;
}

/** How long a command that was killed because nobody reads its output is waited for. */
const killedWaitMs = 2000;

/** `hawser exec`: runs the command and resolves with the exit code for this program, everything written. */
export function exec({ line, command, flags }: ExecCall): Promise<number> {
  return withLocalEnds(flags, async (ends) => {
    await using agent = await connect(line, {
      handshakeTimeoutMs: flags.connectTimeout,
      signal: ends.signals.aborted,
      ...(flags.token !== undefined && { token: flags.token }),
    });
    return await runOn(agent, command, flags, ends); // the agent is closed when it is over
  });
}

/** What this program lends the command: its signals, and its terminal where that is to be raw. */
export interface LocalEnds {
  readonly signals: SignalForwarder;
  readonly terminal: LocalTerminal | undefined;
}

/** Does `work` with this program's signals and terminal; what it throws is reported. @returns the exit code */
export async function withLocalEnds(
  flags: CommandFlags,
  work: (ends: LocalEnds) => Promise<number>,
): Promise<number> {
  const raw = flags.interactive === true && flags.tty === true;
  if (raw && !process.stdin.isTTY) {
    await printError(
      new HawserError(
        'invalid_argument',
        'the input device is not a TTY: leave out -t, or run it in a terminal',
      ),
      flags.json,
    );
    return exitCodes.hawserFailed;
  }
  using signals = new SignalForwarder(raw);
  try {
    return await work({ signals, terminal: raw ? new LocalTerminal() : undefined });
  } catch (error) {
    if (signals.endedBy !== undefined) return signalExitCode(signals.endedBy);
    await printError(error, flags.json);
    return error instanceof HawserError ? errorExitCode(error.code) : exitCodes.hawserFailed;
  } finally {
    releaseInput();
  }
}

type Outcome =
  | { readonly at: 'exited'; readonly record: ExitResult }
  | { readonly at: 'output_failed'; readonly error: NodeJS.ErrnoException };

/** Runs the command in the guest, its streams being this program's. @returns the exit code */
export async function runOn(
  agent: Agent,
  [cmd, ...args]: CommandWords,
  flags: CommandFlags,
  { signals, terminal }: LocalEnds,
): Promise<number> {
  let outcome: Outcome;
  const size = flags.tty ? localTerminalSize() : undefined;
  try {
    terminal?.enterRaw();
    const session = await agent.spawn(cmd, args, { ...spawnOptions(flags, size), signal: signals.aborted });
    signals.attach(session);
    const sizes = flags.tty ? new SizeForwarder(session, size) : undefined;
    sizes?.start();
    try {
      outcome = await carry(session);
    } finally {
      sizes?.stop();
    }
  } finally {
    terminal?.restore();
  }
  if (outcome.at === 'output_failed') return outputFailed(outcome.error);
  if (flags.json) await printJson(outcome.record);
  return recordExitCode(outcome.record);
}

/** Carries the streams until the command has ended and what it wrote is written here. */
async function carry(session: Session): Promise<Outcome> {
  const stdout = new OutputCopy(session.stdout, openLocalOutput(1));
  const stderr = session.stderr && new OutputCopy(session.stderr, openLocalOutput(2));
  if (session.stdin) copyInput(session.stdin);
  const broken = Promise.race([stdout.failed, ...(stderr ? [stderr.failed] : [])]).then(
    (error): Outcome => ({ at: 'output_failed', error }),
  );
  // What descendants write after the leader's end is not waited for: they may live for ever.
  const complete = session.exited.then(async (record): Promise<Outcome> => {
    await Promise.all([
      stdout.reached(record.stdout.bytes - record.stdout.dropped),
      stderr?.reached(record.stderr.bytes - record.stderr.dropped),
    ]);
    return { at: 'exited', record };
  });
  try {
    const outcome = await Promise.race([complete, broken]);
    if (outcome.at === 'output_failed') await killAndWait(session);
    return outcome;
  } catch (error) {
    await Promise.race([Promise.all([stdout.flushed(), stderr?.flushed()]), broken]);
    throw error;
  }
}

function spawnOptions(flags: CommandFlags, size: ReturnType<typeof localTerminalSize>): SpawnOptions {
  const term = flags.tty && process.env.TERM ? { TERM: process.env.TERM } : {};
  return {
    env: { ...term, ...flags.env },
    stdin: flags.interactive ? 'pipe' : 'null',
    ...(flags.rlimit && { rlimits: flags.rlimit }),
    ...(flags.tty && { tty: size ?? true }),
    ...(flags.inheritEnv && { inheritEnv: true }),
    ...(flags.workdir !== undefined && { cwd: flags.workdir }),
    ...(flags.user !== undefined && { user: flags.user }),
    ...(flags.umask !== undefined && { umask: flags.umask }),
    ...(flags.timeout !== undefined && { timeoutMs: flags.timeout }),
    ...(flags.killSignal !== undefined && { killSignal: flags.killSignal }),
  };
}

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
async function outputFailed(error: NodeJS.ErrnoException): Promise<number> {
  if (error.code === 'EPIPE' || error.code === 'EIO' || error.code === 'ECONNRESET')
    return exitCodes.outputClosed;
  await printError(
    new Error(`the command was killed, its output could not be written: ${error.message}`),
    undefined,
  );
  return exitCodes.hawserFailed;
}
