import type { SessionStateText } from '../index.js';
import { BadValue } from './bad-value.js';

export const sessionStates = [
  'starting',
  'running',
  'exited',
  'signaled',
  'unknown',
] as const satisfies readonly SessionStateText[];

/** Which sessions: all of the labels, one of the states. */
export interface SessionFilter {
  readonly labels: Readonly<Record<string, string>>;
  /** Names of labels that a session must have, whatever they say. */
  readonly labelled: readonly string[];
  readonly states: readonly SessionStateText[];
}

export const everySession: SessionFilter = { labels: {}, labelled: [], states: [] };

/** `label=NAME`, `label=NAME=VALUE`, `state=exited`, added to those before. */
export function parseFilter(text: string, before: SessionFilter = everySession): SessionFilter {
  const [, kind, name, value] = /^(label|state)=([^=]+)(?:=(.*))?$/s.exec(text) ?? [];
  if (kind === 'label' && name !== undefined) {
    if (value === undefined) return { ...before, labelled: [...before.labelled, name] };
    return { ...before, labels: { ...before.labels, [name]: value } };
  }
  const state = sessionStates.find((known) => known === name);
  if (kind === 'state' && state !== undefined && value === undefined)
    return { ...before, states: [...before.states, state] };
  throw new BadValue(
    `"${text}" is none of label=NAME, label=NAME=VALUE and state=${sessionStates.join('|')}`,
  );
}
