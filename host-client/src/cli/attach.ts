import { HawserError } from '@hawser/protocol';
import { connect, type Session } from '../index.js';
import { noteConnection } from './connection-notes.js';
import { errorExitCode, exitCodes, signalExitCode } from './exit-code.js';
import { findSession } from './find-session.js';
import { follow } from './follow.js';
import { releaseInput } from './input-copy.js';
import { printError } from './report.js';
import { SignalForwarder } from './signal-forwarder.js';
import { LocalTerminal, localTerminalSize } from './terminal.js';

/** What the options of `hawser attach` hold, under commander's names. */
export interface AttachFlags {
  readonly fromStart?: true;
  /** False with `--no-stdin`. */
  readonly stdin: boolean;
  readonly detachKeys: Uint8Array;
  readonly verbose?: true;
  readonly token?: string;
  readonly connectTimeout: number;
  readonly json?: true;
}

/** `hawser attach`: follows the session, named as `findSession` takes it, until it ends or is left; resolves with the exit code for this program. */
export async function attach(line: string, name: string, flags: AttachFlags): Promise<number> {
  using signals = new SignalForwarder(false);
  const terminal = new LocalTerminal();
  try {
    await using agent = await connect(line, {
      handshakeTimeoutMs: flags.connectTimeout,
      reconnectMs: flags.connectTimeout,
      signal: signals.aborted,
      ...(flags.token !== undefined && { token: flags.token }),
    });
    if (flags.verbose || process.stderr.isTTY) noteConnection(agent, () => terminal.isRaw);
    const session = await agent.attach(await findSession(agent, name), {
      stdin: flags.stdin,
      // From the very first byte: what of that is not kept any more is told as a gap.
      from: flags.fromStart ? { stdout: 0, stderr: 0 } : 'end',
    });
    const inTerminal = session.stderr === null;
    const raw = inTerminal && session.stdin !== null && process.stdin.isTTY;
    if (raw) {
      terminal.enterRaw();
      await redraw(session);
    }
    return await follow(session, {
      signals,
      terminal: raw ? terminal : undefined,
      detachKeys: flags.detachKeys,
      forwardSignals: flags.stdin,
      // It was there before, and is there afterwards: whoever closes a window does not mean its end.
      leaveOn: new Set(['SIGTERM', 'SIGHUP']),
      size: raw ? { sent: undefined } : undefined,
      json: flags.json === true,
    });
  } catch (error) {
    terminal.restore();
    if (signals.endedBy !== undefined) return signalExitCode(signals.endedBy);
    await printError(error, flags.json);
    return error instanceof HawserError ? errorExitCode(error.code) : exitCodes.hawserFailed;
  } finally {
    terminal.restore();
    releaseInput();
  }
}

/** A program that fills the screen draws it anew when its size changes, and only then; as docker attach does it. */
async function redraw(session: Session): Promise<void> {
  const size = localTerminalSize();
  if (size === undefined) return;
  // One that has ended has nothing to draw.
  await session.resize({ rows: size.rows + 1, cols: size.cols }).catch(() => undefined);
}
