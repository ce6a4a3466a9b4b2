import * as z from 'zod';
import { bytesCount, describeProcess, processFields } from './process-fields.js';
import type { Call, Tool } from './tool.js';

const input = z.strictObject({
  state: z
    .enum(['all', 'running'])
    .default('all')
    .describe('all: with those that have ended and are still known.'),
  name: z.string().min(1).optional().describe('Only those that were started with this name.'),
  limit: z.number().int().min(1).max(200).default(50),
  cursor: bytesCount.optional().describe('The nextCursor of the page before.'),
});

const output = z.strictObject({
  processes: z
    .array(z.strictObject({ ...processFields, stdoutBytes: bytesCount, stderrBytes: bytesCount }))
    .describe('The oldest first.'),
  nextCursor: bytesCount.nullable().describe('Where there are more: the cursor of the next page.'),
});

export const listProcessesTool: Tool<typeof input, typeof output> = {
  name: 'list_processes',
  title: 'List processes',
  description: `Lists the processes that the agent of the guest has started, by whomever that was asked for, running or ended, one page at a time.
It is no ps: other processes of the guest are not in it; for those run exec {"command": "ps aux"}. For CPU and memory use process_stats.`,
  annotations: { readOnlyHint: true, idempotentHint: true, openWorldHint: false },
  input,
  output,
  run: listProcesses,
};

async function listProcesses(
  { state, name, limit, cursor }: z.output<typeof input>,
  { agent }: Call,
): Promise<z.output<typeof output>> {
  const { sessions, next } = await agent.sessions.listPage({
    limit,
    after: cursor,
    ...(state === 'running' && { states: ['starting', 'running'] }),
    ...(name !== undefined && { labels: { name } }),
  });
  return {
    processes: sessions.map((info) => ({
      ...describeProcess(info),
      stdoutBytes: info.stdout.bytes,
      stderrBytes: info.stderr?.bytes ?? 0,
    })),
    nextCursor: next ?? null,
  };
}
