import * as z from 'zod';
import type { Session } from '../sessions/session.js';
import { BoundedOutput } from './bounded-output.js';
import { commandFields, commandOptions, commandWords } from './command-fields.js';
import { encodeOutput, encodingField, textFields, wholeCharacters } from './output-text.js';
import { bytesCount } from './process-fields.js';
import type { Call, Tool } from './tool.js';

/** Below the 60 s after which the SDK's client gives a request up, with the grace of a command that will not end. */
const defaultTimeoutMs = 50_000;
const killGraceMs = 3_000;
const outputBytesDefault = 32 * 1024;
const outputBytesMax = 1024 * 1024;
/** As much as an agent keeps of one output. */
const historyBytes = 4 * 1024 * 1024;

const input = z.strictObject({
  ...commandFields,
  input: z.string().optional().describe('Text for its standard input. Default: an immediate end.'),
  timeoutMs: z
    .number()
    .int()
    .min(1)
    .max(86_400_000)
    .default(defaultTimeoutMs)
    .describe(
      `After so long it is ended: SIGTERM, then SIGKILL. Clients often give up after 60,000: use start_process for what takes longer.`,
    ),
  maxOutputBytes: z
    .number()
    .int()
    .min(4)
    .max(outputBytesMax)
    .default(outputBytesDefault)
    .describe('Most bytes of stdout, and of stderr, in the answer; the rest can be read afterwards.'),
  encoding: encodingField,
});

const execOutput = z.strictObject({
  ...textFields,
  totalBytes: bytesCount.describe('What the command wrote in all.'),
  nextCursor: bytesCount
    .nullable()
    .describe(
      'Null where text is everything. Else the rest is read with read_process_output from this cursor; it has the last 4 MiB.',
    ),
});

const output = z.strictObject({
  exitCode: z
    .number()
    .int()
    .nullable()
    .describe('Null where a signal ended it; also, with signal, where the guest does not know how it ended.'),
  signal: z.string().nullable().describe('The signal that ended it.'),
  timedOut: z.boolean().describe('It ran out of timeoutMs and was ended.'),
  oomKilled: z.boolean().describe('The kernel killed a process of it for want of memory.'),
  durationMs: z.number().nonnegative(),
  stdout: execOutput,
  stderr: execOutput,
  processId: z
    .string()
    .nullable()
    .describe('Only where output was cut: for read_process_output, which has it for some minutes.'),
  backgroundKilled: bytesCount.describe(
    'Processes that it left in the background and that were killed: use start_process for such.',
  ),
});

type Input = z.output<typeof input>;

export const execTool: Tool<typeof input, typeof output> = {
  name: 'exec',
  title: 'Run a command',
  description: `Runs a command in the guest, waits for its end, and returns its exit code and what it wrote.
For commands that end by themselves within a minute. An exit code other than 0 is a result, no error; a command that could not be started is an error.
A long output is cut at maxOutputBytes, each of stdout and stderr: the answer then has a processId, and a nextCursor for read_process_output.
All that it started ends with it, background processes ("&", daemons) too: use start_process for servers and long jobs.
Each call is a shell of its own: directory and variables of one are not there in the next, so use cwd and env.`,
  annotations: { readOnlyHint: false, destructiveHint: true, idempotentHint: false, openWorldHint: true },
  input,
  output,
  run: exec,
};

async function exec(given: Input, { agent, signal }: Call): Promise<z.output<typeof output>> {
  const [cmd, args] = commandWords(given);
  const session = await agent.spawn(cmd, args, {
    ...commandOptions(given),
    stdin: given.input === undefined ? 'null' : 'pipe',
    timeoutMs: given.timeoutMs,
    killGraceMs,
    labels: { mcp: 'exec' },
    // Kept when it has ended, for output that was cut; and not left running by a server that is gone.
    detached: true,
    onDisconnect: { action: 'kill' },
    historyBytes,
    signal,
  });
  session.stdin?.end(given.input);
  const stdout = new BoundedOutput(session.stdout, given.maxOutputBytes);
  const stderr = new BoundedOutput(session.stderr, given.maxOutputBytes);
  const exit = await session.exited;
  const backgroundKilled = await endBackground(session, exit);
  await stdout.received(exit.stdout.bytes);
  await stderr.received(exit.stderr.bytes);
  const outputs = {
    stdout: cutOutput(stdout.head, exit.stdout.bytes, given.encoding),
    stderr: cutOutput(stderr.head, exit.stderr.bytes, given.encoding),
  };
  const isCut = outputs.stdout.nextCursor !== null || outputs.stderr.nextCursor !== null;
  // Where that fails it is forgotten some minutes later.
  if (!isCut || signal.aborted)
    void session.closed.then(() => agent.sessions.remove(session.id)).catch(() => {});
  return {
    exitCode: exit.code,
    signal: exit.signal,
    timedOut: exit.timedOut,
    oomKilled: exit.oomKilled ?? false,
    durationMs: Math.round(exit.durationUs / 1000),
    ...outputs,
    processId: isCut ? session.id : null,
    backgroundKilled,
  };
}

type Exit = Awaited<Session['exited']>;

/** @returns how many there were, as far as the agent can tell. */
async function endBackground(session: Session, { survivors, outputComplete }: Exit): Promise<number> {
  if (survivors === 0 || (survivors === undefined && outputComplete)) return 0;
  await session.killTree();
  return survivors ?? 0;
}

/** @param head no more than there is room for. What descendants wrote behind `totalBytes` is not the command's. */
function cutOutput(
  head: Buffer,
  totalBytes: number,
  encoding: Input['encoding'],
): z.output<typeof execOutput> {
  const bytes = head.subarray(0, totalBytes);
  const isWhole = bytes.length === totalBytes;
  const shown = isWhole ? bytes : bytes.subarray(0, wholeCharacters(bytes));
  return { ...encodeOutput(shown, encoding), totalBytes, nextCursor: isWhole ? null : shown.length };
}
