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

/** What the options of `hawser exec` hold, under commander's names. */
export interface ExecFlags {
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
  readonly detach?: true;
  readonly detachKeys: Uint8Array;
  readonly name?: string;
  readonly label?: Readonly<Record<string, string>>;
  readonly key?: string;
  readonly onDisconnect?: NonNullable<SpawnOptions['onDisconnect']>;
  readonly whenFull?: 'block' | 'drop-oldest';
  readonly history?: number;
  readonly verbose?: true;
  readonly token?: string;
  readonly connectTimeout: number;
  readonly json?: true;
}

export interface ExecCall {
  readonly line: string;
  readonly command: readonly [cmd: string, ...args: string[]];
  readonly flags: ExecFlags;
}

/** `hawser exec`: runs the command and resolves with the exit code for this program, everything written. */
export async function exec(call: ExecCall): Promise<number> {
  const { flags } = call;
  const raw = flags.interactive === true && flags.tty === true && flags.detach !== true;
  if (raw && !process.stdin.isTTY) {
    await printError(noTerminal(), flags.json);
    return exitCodes.hawserFailed;
  }
  using signals = new SignalForwarder(raw);
  try {
    await using agent = await connect(call.line, {
      handshakeTimeoutMs: flags.connectTimeout,
      signal: signals.aborted,
      ...(flags.token !== undefined && { token: flags.token }),
    });
    if (flags.detach) return await startDetached(agent, call, signals);
    return await runOn(agent, call, signals, raw ? new LocalTerminal() : undefined);
  } catch (error) {
    if (signals.endedBy !== undefined) return signalExitCode(signals.endedBy);
    await printError(error, flags.json);
    return error instanceof HawserError ? errorExitCode(error.code) : exitCodes.hawserFailed;
  } finally {
    releaseInput();
  }
}

/** Starts it, says its id, and leaves it to itself. */
async function startDetached(
  agent: Agent,
  { command: [cmd, ...args], flags }: ExecCall,
  signals: SignalForwarder,
): Promise<number> {
  const options = { ...spawnOptions(flags, flags.tty ? localTerminalSize() : undefined), detached: true };
  const session = await agent.spawn(cmd, args, { ...options, signal: signals.aborted });
  await session.detach();
  await printOutput(session.id);
  return 0;
}

async function runOn(
  agent: Agent,
  { command: [cmd, ...args], flags }: ExecCall,
  signals: SignalForwarder,
  terminal: LocalTerminal | undefined,
): Promise<number> {
  const size = flags.tty ? localTerminalSize() : undefined;
  try {
    terminal?.enterRaw();
    if (flags.verbose || process.stderr.isTTY) noteConnection(agent, () => terminal?.isRaw === true);
    const session = await agent.spawn(cmd, args, { ...spawnOptions(flags, size), signal: signals.aborted });
    return await follow(session, {
      signals,
      terminal,
      detachKeys: flags.detachKeys,
      forwardSignals: true,
      leaveOn: new Set(),
      size: flags.tty ? { sent: size } : undefined,
      json: flags.json === true,
    });
  } finally {
    terminal?.restore();
  }
}

function spawnOptions(flags: ExecFlags, size: ReturnType<typeof localTerminalSize>): SpawnOptions {
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
function keepingOptions(flags: ExecFlags): SpawnOptions {
  const labels = { ...flags.label, ...(flags.name !== undefined && { name: flags.name }) };
  return {
    ...(Object.keys(labels).length > 0 && { labels }),
    ...(flags.key !== undefined && { key: flags.key }),
    ...(flags.onDisconnect && { onDisconnect: flags.onDisconnect }),
    ...(flags.history !== undefined && { historyBytes: flags.history }),
    ...(flags.whenFull && { whenFull: flags.whenFull === 'block' ? 'block' : 'dropOldest' }),
  };
}
