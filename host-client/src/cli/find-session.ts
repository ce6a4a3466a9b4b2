import { HawserError } from '@hawser/protocol';
import type { Agent, SessionInfo } from '../index.js';
import { commandText, stateText } from './session-cells.js';

/** So many of those that a text may mean are named. */
const namedMax = 10;

/**
 * The id of the session that is meant: by its id, its number, its name (the label `name`), or a beginning of its id.
 *
 * @throws HawserError `unknown_session` where there is none, or more than one.
 */
export async function findSession(agent: Agent, text: string): Promise<string> {
  // What the agent is asked for by its whole id it looks for itself.
  if (text.startsWith(`${agent.welcome.bootId}-`)) return text;
  const called = await calledSo(agent, text);
  const found = called.length > 0 ? called : await beginningSo(agent, text);
  const [first, ...others] = found;
  if (first === undefined)
    throw new HawserError(
      'unknown_session',
      `no session "${text}": no id, beginning of one, number or name is that ("hawser ps -a" lists them)`,
    );
  if (others.length > 0) throw ambiguous(text, found);
  return first.id;
}

/** Those whose number or name it is. */
async function calledSo(agent: Agent, text: string): Promise<readonly SessionInfo[]> {
  const named = await agent.sessions.list({ labels: { name: text } });
  if (!/^[1-9]\d{0,14}$/.test(text)) return named;
  const generation = Number(text);
  const { sessions } = await agent.sessions.listPage({ after: generation - 1, limit: 1 });
  const numbered = sessions.filter((session) => session.generation === generation);
  return [...named.filter((session) => session.generation !== generation), ...numbered];
}

async function beginningSo(agent: Agent, text: string): Promise<readonly SessionInfo[]> {
  if (text === '') return [];
  return (await agent.sessions.list()).filter(({ id }) => id.startsWith(text));
}

function ambiguous(text: string, found: readonly SessionInfo[]): HawserError {
  const named = found
    .slice(0, namedMax)
    .map((session) => `${session.id} (${stateText(session)}: ${commandText(session)})`);
  const more = found.length > namedMax ? `, and ${found.length - namedMax} more` : '';
  return new HawserError(
    'unknown_session',
    `"${text}" may be any of ${found.length} sessions: ${named.join(', ')}${more}`,
  );
}
