import { type Agent, connect } from '../index.js';
import { noteConnection } from './connection-notes.js';
import { withLocalEnds } from './exec.js';
import { exitCodes } from './exit-code.js';

/** The options of every command that asks an agent, under commander's names. */
export interface AgentFlags {
  readonly token?: string;
  readonly connectTimeout: number;
  readonly json?: true;
}

/**
 * Connects, does `work`, and closes; what it throws is reported. A signal ends it wherever it is.
 *
 * @param work gets the agent, and a signal that is aborted when this program is to end.
 * @returns the exit code
 */
export function onAgent(
  line: string,
  flags: AgentFlags,
  work: (agent: Agent, stopped: AbortSignal) => Promise<number>,
): Promise<number> {
  return withLocalEnds({ raw: false, json: flags.json }, async ({ signals }) => {
    const stopped = signals.aborted;
    await using agent = await connect(line, {
      handshakeTimeoutMs: flags.connectTimeout,
      reconnectMs: flags.connectTimeout,
      signal: stopped,
      ...(flags.token !== undefined && { token: flags.token }),
    });
    if (process.stderr.isTTY) noteConnection(agent, () => false);
    try {
      return await Promise.race([work(agent, stopped), interruption(stopped)]);
    } catch (error) {
      // A reader that went away (`| head -1`) is nothing to complain about.
      if (error instanceof Error && 'code' in error && error.code === 'EPIPE') return exitCodes.outputClosed;
      throw error;
    }
  });
}

/** Rejects when the signal is aborted. */
function interruption(stopped: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const stop = (): void => reject(new Error('interrupted'));
    if (stopped.aborted) stop();
    else stopped.addEventListener('abort', stop, { once: true });
  });
}
