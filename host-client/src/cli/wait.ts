import type { SessionInfo } from '../index.js';
import { forEachSession } from './each-session.js';
import { type AgentFlags, onAgent } from './on-agent.js';

export interface WaitFlags extends AgentFlags {
  readonly timeout?: number;
}

/** `hawser wait`: prints how each session's leader ended. */
export function wait(line: string, names: readonly string[], flags: WaitFlags): Promise<number> {
  const options = flags.timeout === undefined ? {} : { timeoutMs: flags.timeout };
  return onAgent(line, flags, (agent) =>
    forEachSession(agent, names, async (id) => endText(await agent.sessions.wait(id, options))),
  );
}

/** The exit code, the signal's name, or `unknown`. */
function endText({ exit }: SessionInfo): string {
  return String(exit?.signal ?? exit?.code ?? 'unknown');
}
