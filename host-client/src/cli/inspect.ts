import type { SessionInfo } from '../index.js';
import { exitCodes } from './exit-code.js';
import { findSession } from './find-session.js';
import { type AgentFlags, onAgent } from './on-agent.js';
import { printError, printOutput, toJson } from './report.js';
import { sessionFields } from './session-fields.js';

/** `hawser inspect`: everything that is known of each session, as one array of JSON. */
export function inspect(line: string, names: readonly string[], flags: AgentFlags): Promise<number> {
  return onAgent(line, flags, async (agent) => {
    const found: SessionInfo[] = [];
    const failed: unknown[] = [];
    for (const name of names) {
      try {
        found.push(await agent.sessions.get(await findSession(agent, name)));
      } catch (error) {
        failed.push(error);
      }
    }
    await printOutput(toJson(found.map(sessionFields), 2));
    for (const error of failed) await printError(error, undefined);
    return failed.length > 0 ? exitCodes.hawserFailed : 0;
  });
}
