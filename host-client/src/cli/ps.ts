import { HawserError } from '@hawser/protocol';
import type { Agent, SessionInfo, SessionMembers } from '../index.js';
import { type AgentFlags, onAgent } from './on-agent.js';
import { everySession, type SessionFilter } from './parse-filter.js';
import { psTable, type Shown } from './ps-table.js';
import { printOutput, toJson } from './report.js';
import { sessionFields } from './session-fields.js';
import { sessionsNow } from './sessions-now.js';
import { localTerminalSize } from './terminal.js';

export interface PsFlags extends AgentFlags {
  readonly all?: true;
  readonly filter?: SessionFilter;
  readonly quiet?: true;
  readonly tree?: true;
  /** False with `--no-trunc`. */
  readonly trunc: boolean;
}

/** `hawser ps` */
export function ps(line: string, flags: PsFlags): Promise<number> {
  return onAgent(line, flags, async (agent) => {
    const { labels, labelled, states } = flags.filter ?? everySession;
    const { at, sessions } = await sessionsNow(agent, {
      labels,
      states: states.length > 0 ? states : flags.all ? 'any' : 'live',
    });
    const asked = sessions.filter((session) => labelled.every((name) => Object.hasOwn(session.labels, name)));
    if (flags.quiet) {
      if (asked.length > 0) await printOutput(asked.map(({ id }) => id).join('\n'));
      return 0;
    }
    const shown = flags.tree ? await withMembers(agent, asked) : asked.map((session) => ({ session }));
    await printOutput(flags.json ? json(shown) : psTable(shown, tableOptions(at, flags)).join('\n'));
    return 0;
  });
}

function tableOptions(at: Date, { trunc }: PsFlags) {
  const columnsMax = process.stdout.isTTY ? localTerminalSize()?.cols : undefined;
  return { at, whole: !trunc, columnsMax };
}

/** One array, as `docker inspect` and `jq` have it. */
function json(shown: readonly Shown[]): string {
  return toJson(
    shown.map(({ session, members }) => ({ ...sessionFields(session), ...(members && { members }) })),
  );
}

function withMembers(agent: Agent, sessions: readonly SessionInfo[]): Promise<Shown[]> {
  return Promise.all(
    sessions.map(async (session) => ({
      session,
      members: session.stats === null ? undefined : await membersOf(agent, session.id),
    })),
  );
}

/** Nothing of a session that has ended meanwhile. */
async function membersOf(agent: Agent, sessionId: string): Promise<SessionMembers | undefined> {
  try {
    return await agent.sessions.members(sessionId);
  } catch (error) {
    const gone = error instanceof HawserError && ['session_ended', 'unknown_session'].includes(error.code);
    if (gone) return undefined;
    throw error;
  }
}
