import { HawserError } from '@hawser/protocol';
import * as z from 'zod';
import type { SessionInfo } from '../sessions/session-registry.js';
import { untilAborted } from './cancelled.js';
import { bytesCount, describeProcess, isOver, processFields, processId } from './process-fields.js';
import type { Call, Tool } from './tool.js';

const input = z.strictObject({
  processId,
  timeoutMs: z
    .number()
    .int()
    .min(0)
    .max(86_400_000)
    .default(50_000)
    .describe('How long to wait. Clients often give up after 60,000: call again instead of waiting longer.'),
});

const output = z.strictObject({
  ...processFields,
  stillRunning: z.boolean().describe('It has not ended within timeoutMs, and goes on.'),
  timedOut: z.boolean().describe('It ran out of the timeoutMs that it was started with and was ended.'),
  oomKilled: z.boolean().describe('The kernel killed a process of it for want of memory.'),
  stdoutBytes: bytesCount,
  stderrBytes: bytesCount,
});

export const waitForProcessTool: Tool<typeof input, typeof output> = {
  name: 'wait_for_process',
  title: 'Wait for a process',
  description: `Waits until a process has ended and says how; at once where it has. That the time is over first is no error: stillRunning is true, and the process goes on.
What it wrote is read with read_process_output.`,
  annotations: { readOnlyHint: true, idempotentHint: true, openWorldHint: false },
  input,
  output,
  run: waitForProcess,
};

async function waitForProcess(
  { processId: id, timeoutMs }: z.output<typeof input>,
  { agent, signal }: Call,
): Promise<z.output<typeof output>> {
  const info = await untilAborted(signal, waited(agent, id, timeoutMs));
  return {
    ...describeProcess(info),
    stillRunning: !isOver(info),
    timedOut: info.exit?.timedOut ?? false,
    oomKilled: info.exit?.oomKilled ?? false,
    stdoutBytes: info.stdout.bytes,
    stderrBytes: info.stderr?.bytes ?? 0,
  };
}

/** The process when it has ended, or when the time is over. */
export async function waited(agent: Call['agent'], id: string, timeoutMs: number): Promise<SessionInfo> {
  try {
    return await agent.sessions.wait(id, { timeoutMs });
  } catch (error) {
    if (!(error instanceof HawserError) || error.code !== 'timed_out') throw error;
    return agent.sessions.get(id);
  }
}
