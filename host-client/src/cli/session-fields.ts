import type { SessionInfo } from '../index.js';

/** As it is printed for programs: what it is found by comes first. */
export function sessionFields(session: SessionInfo): SessionInfo {
  const { id, generation, labels, state, ...rest } = session;
  return { id, generation, labels, state, ...rest };
}
