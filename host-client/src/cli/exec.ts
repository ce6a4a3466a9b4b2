import { HawserError } from '@hawser/protocol';
import { type Agent, connect } from '../index.js';
import type { RlimitSettings, SpawnOptions } from '../options.js';
import { noteConnection } from './connection-notes.js';
import { errorExitCode, exitCodes, signalExitCode } from './exit-code.js';
import { follow, noTerminal } from './follow.js';
import { releaseInput } from './input-copy.js';
import { printError, printOutput } from './report.js';
import { SignalForwarder } from './signal-forwarder.js';
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
  readonly detachKeys?: Uint8Array;
  readonly verbose?: true;
  readonly name?: string;
  readonly label?: Readonly<Record<string, string>>;
  readonly key?: string;
  readonly onDisconnect?: NonNullable<SpawnOptions['onDisconnect']>;
  readonly whenFull?: 'block' | 'drop-oldest';
  readonly history?: number;
  readonly surviveAgent?: true;
}

/** Those of `hawser exec`. */
export interface ExecFlags extends CommandFlags {
  readonly detach?: true;
  readonly token?: string;
  readonly connectTimeout: number;
}

export type CommandWords = readonly [cmd: string, ...args: string[]];

export interface ExecCall {
  readonly line: string;
  readonly command: CommandWords;
  readonly flags: ExecFlags;
}

/** `hawser exec`: runs the command and resolves with the exit code for this program, everything written. */
export function exec({ line, command, flags }: ExecCall): Promise<number> {
  const { detach } = flags;
  const local = detach ? { raw: false, json: flags.json } : localEndsOf(flags);
  return withLocalEnds(local, async (ends) => {
    await using agent = await connect(line, {
      handshakeTimeoutMs: flags.connectTimeout,
      reconnectMs: flags.connectTimeout,
      signal: ends.signals.aborted,
      ...(flags.token !== undefined && { token: flags.token }),
    });
    if (detach) return await startDetached(agent, command, flags, ends);
    return await runOn(agent, command, flags, ends); // the agent is closed when it is over
  });
}

/** What a command with these flags needs here: a raw terminal with `-it`. */
export function localEndsOf({ interactive, tty, json }: CommandFlags): LocalNeeds {
  return { raw: interactive === true && tty === true, json };
}

interface LocalNeeds {
  readonly raw: boolean;
  readonly json: true | undefined;
}

/** What this program lends the command: its signals, and its terminal where that is to be raw. */
export interface LocalEnds {
  readonly signals: SignalForwarder;
  readonly terminal: LocalTerminal | undefined;
}

/** Does `work` with this program's signals and terminal; what it throws is reported. @returns the exit code */
export async function withLocalEnds(
  { raw, json }: LocalNeeds,
  work: (ends: LocalEnds) => Promise<number>,
): Promise<number> {
  if (raw && !process.stdin.isTTY) {
    await printError(noTerminal(), json);
    return exitCodes.hawserFailed;
  }
  using signals = new SignalForwarder(raw);
  try {
    return await work({ signals, terminal: raw ? new LocalTerminal() : undefined });
  } catch (error) {
    if (signals.endedBy !== undefined) return signalExitCode(signals.endedBy);
    await printError(error, json);
    return error instanceof HawserError ? errorExitCode(error.code) : exitCodes.hawserFailed;
  } finally {
    releaseInput();
  }
}

/** Starts it, says its id, and leaves it to itself. */
async function startDetached(
  agent: Agent,
  [cmd, ...args]: CommandWords,
  flags: CommandFlags,
  { signals }: LocalEnds,
): Promise<number> {
  const options = { ...spawnOptions(flags, flags.tty ? localTerminalSize() : undefined), detached: true };
  const session = await agent.spawn(cmd, args, { ...options, signal: signals.aborted });
  await session.detach();
  await printOutput(session.id);
  return 0;
}

/** Runs the command in the guest, its streams being this program's. @returns the exit code */
export async function runOn(
  agent: Agent,
  [cmd, ...args]: CommandWords,
  flags: CommandFlags,
  { signals, terminal }: LocalEnds,
): Promise<number> {
  const size = flags.tty ? localTerminalSize() : undefined;
  try {
    terminal?.enterRaw();
    if (flags.verbose || process.stderr.isTTY) noteConnection(agent, () => terminal?.isRaw === true);
    const session = await agent.spawn(cmd, args, { ...spawnOptions(flags, size), signal: signals.aborted });
    return await follow(session, {
      signals,
      terminal,
      detachKeys: flags.detachKeys ?? new Uint8Array(0),
      forwardSignals: true,
      leaveOn: new Set(),
      size: flags.tty ? { sent: size } : undefined,
      json: flags.json === true,
    });
  } finally {
    terminal?.restore();
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
    ...keepingOptions(flags),
  };
}

/** How the session is found again, and what becomes of it meanwhile. */
function keepingOptions(flags: CommandFlags): SpawnOptions {
  const labels = { ...flags.label, ...(flags.name !== undefined && { name: flags.name }) };
  return {
    ...(Object.keys(labels).length > 0 && { labels }),
    ...(flags.key !== undefined && { key: flags.key }),
    ...(flags.onDisconnect && { onDisconnect: flags.onDisconnect }),
    ...(flags.history !== undefined && { historyBytes: flags.history }),
    ...(flags.surviveAgent && { surviveAgent: true }),
    ...(flags.whenFull && { whenFull: flags.whenFull === 'block' ? 'block' : 'dropOldest' }),
  };
}
