import * as z from 'zod';
import { commandFields, commandOptions, commandWords } from './command-fields.js';
import type { Call, Tool } from './tool.js';

const historyBytesDefault = 1024 * 1024;
const historyBytesMax = 4 * 1024 * 1024;

const input = z.strictObject({
  ...commandFields,
  name: z
    .string()
    .min(1)
    .max(200)
    .optional()
    .describe('A name to know it by in list_processes; need not be unique.'),
  stdin: z
    .boolean()
    .default(true)
    .describe('Whether write_process_input can write to it. False: it reads an immediate end.'),
  timeoutMs: z
    .number()
    .int()
    .min(1)
    .max(2 ** 31 - 1)
    .optional()
    .describe('End it after so long. Default: never.'),
  historyBytes: z
    .number()
    .int()
    .min(4096)
    .max(historyBytesMax)
    .default(historyBytesDefault)
    .describe('How much of stdout, and of stderr, is kept to be read; beyond, the oldest is dropped.'),
});

const output = z.strictObject({
  processId: z.string().describe('For the other tools.'),
  pid: z.number().int().describe('In the guest.'),
});

export const startProcessTool: Tool<typeof input, typeof output> = {
  name: 'start_process',
  title: 'Start a process',
  description: `Starts a command in the guest and returns at once, while it goes on: servers, long builds, programs to talk to.
It goes on when this server and the client have ended: end it with kill_process when it is of no more use.
What it writes is kept (the last historyBytes of it) and read with read_process_output, also when it has ended; it never waits for a reader.
Follow with wait_for_process, read_process_output (with waitMs), write_process_input, process_stats, kill_process.`,
  annotations: { readOnlyHint: false, destructiveHint: true, idempotentHint: false, openWorldHint: true },
  input,
  output,
  run: startProcess,
};

async function startProcess(
  given: z.output<typeof input>,
  { agent, signal }: Call,
): Promise<z.output<typeof output>> {
  const [cmd, args] = commandWords(given);
  const session = await agent.spawn(cmd, args, {
    ...commandOptions(given),
    ...(given.timeoutMs !== undefined && { timeoutMs: given.timeoutMs }),
    stdin: given.stdin ? 'pipe' : 'null',
    labels: { mcp: 'start_process', ...(given.name !== undefined && { name: given.name }) },
    detached: true,
    historyBytes: given.historyBytes,
    whenFull: 'dropOldest',
    signal,
  });
  const { id, pid } = session;
  // What comes meanwhile is read and dropped here, and history there.
  session.stdout.destroy();
  session.stderr?.destroy();
  await session.detach();
  return { processId: id, pid };
}
