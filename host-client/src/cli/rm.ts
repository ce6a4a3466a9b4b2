import { HawserError } from '@hawser/protocol';
import type { Agent } from '../index.js';
import { forEachSession } from './each-session.js';
import { type AgentFlags, onAgent } from './on-agent.js';

export interface RmFlags extends AgentFlags {
  readonly force?: true;
}

/** `hawser rm`: has the agent forget each session, and prints its id. */
export function rm(line: string, names: readonly string[], flags: RmFlags): Promise<number> {
  return onAgent(line, flags, (agent) =>
    forEachSession(agent, names, async (id) => {
      if (flags.force) await end(agent, id);
      await remove(agent, id);
      return id;
    }),
  );
}

async function end(agent: Agent, id: string): Promise<void> {
  await agent.sessions.killTree(id);
  await agent.sessions.wait(id);
}

async function remove(agent: Agent, id: string): Promise<void> {
  try {
    await agent.sessions.remove(id);
  } catch (error) {
    if (!(error instanceof HawserError) || error.code !== 'session_running') throw error;
    const advice = '("hawser kill --tree", or "hawser rm -f")';
    throw new HawserError('session_running', `${error.message} ${advice}`, { cause: error });
  }
}
