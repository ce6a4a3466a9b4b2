import { HawserError } from '@hawser/protocol';
import type { Agent, SessionInfo, SessionStateText, StatsSample } from '../index.js';

export interface SessionsNow {
  /** By the guest's clock, as the times of the sessions. */
  readonly at: Date;
  /** The oldest first, with what each uses. */
  readonly sessions: readonly SessionInfo[];
}

const running: readonly SessionStateText[] = ['starting', 'running'];

export interface WhichSessions {
  /** They have all of these. */
  readonly labels: Readonly<Record<string, string>>;
  /** They are in one of these; `live`: they have a process, be it that the leader is dead. */
  readonly states: readonly SessionStateText[] | 'live' | 'any';
}

export async function sessionsNow(agent: Agent, { labels, states }: WhichSessions): Promise<SessionsNow> {
  const sample = await agent.sessions.allStats({ labels });
  const sessions = await agent.sessions.list({
    labels,
    ...(states !== 'any' && { states: states === 'live' ? running : states }),
  });
  if (states === 'live') sessions.push(...(await survivors(agent, sample, sessions)));
  const statsOf = new Map(sample.sessions.map(({ id, ...stats }) => [id, stats]));
  return {
    at: sample.at,
    sessions: sessions
      .map((session) => ({ ...session, stats: statsOf.get(session.id) ?? session.stats }))
      .toSorted((a, b) => a.generation - b.generation),
  };
}

/** Those with processes that are not listed: their leaders are dead. */
async function survivors(
  agent: Agent,
  sample: StatsSample,
  listed: readonly SessionInfo[],
): Promise<SessionInfo[]> {
  const ids = new Set(listed.map(({ id }) => id));
  const found = await Promise.all(
    sample.sessions.filter(({ id }) => !ids.has(id)).map(({ id }) => getIfThere(agent, id)),
  );
  return found.filter((session) => session !== undefined).filter(({ stats }) => stats !== null);
}

/** The session, unless it has gone meanwhile. */
export async function getIfThere(agent: Agent, sessionId: string): Promise<SessionInfo | undefined> {
  try {
    return await agent.sessions.get(sessionId);
  } catch (error) {
    if (error instanceof HawserError && error.code === 'unknown_session') return undefined;
    throw error;
  }
}
