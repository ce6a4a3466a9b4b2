import { HawserError } from '@hawser/protocol';
import type { Agent } from '../index.js';
import { forEachSession } from './each-session.js';
import { type AgentFlags, onAgent } from './on-agent.js';

export interface KillFlags extends AgentFlags {
  readonly signal: string;
  readonly tree?: true;
}

/** `hawser kill`: signals each session and prints its id. */
export function kill(line: string, names: readonly string[], flags: KillFlags): Promise<number> {
  return onAgent(line, flags, (agent) =>
    forEachSession(agent, names, async (id) => {
      if (flags.tree) await signalTree(agent, id, flags.signal);
      else await agent.sessions.signal(id, flags.signal, { target: 'group' });
      return id;
    }),
  );
}

/** With SIGKILL, when they are gone. */
async function signalTree(agent: Agent, id: string, signal: string): Promise<void> {
  if (signal !== 'SIGKILL') return await agent.sessions.signal(id, signal, { target: 'tree' });
  const { state, stats } = await agent.sessions.get(id);
  if (state !== 'starting' && state !== 'running' && stats === null)
    throw new HawserError('session_ended', `session ${id} has ended, and no process of it lives`);
  await agent.sessions.killTree(id);
}
