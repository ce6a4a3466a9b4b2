import { HawserError } from '@hawser/protocol';
import * as z from 'zod';
import type { RetainedOutput, SessionInfo } from '../sessions/session-registry.js';
import { cutCharacter, encodeOutput, encodingField, textFields, wholeCharacters } from './output-text.js';
import type { StreamName, Window } from './output-window.js';
import { WindowReader } from './output-window.js';
import { bytesCount, isOver, processFields, processId } from './process-fields.js';
import type { Call, Tool } from './tool.js';

const input = z.strictObject({
  processId,
  stream: z.enum(['stdout', 'stderr']).default('stdout'),
  cursor: z
    .number()
    .int()
    .default(0)
    .describe(
      'Position in bytes: the nextCursor of the answer before. 0 is the beginning; -4000 is the last 4000 bytes.',
    ),
  maxBytes: z
    .number()
    .int()
    .min(4)
    .max(1024 * 1024)
    .default(32 * 1024)
    .describe('Most bytes in one answer.'),
  waitMs: z
    .number()
    .int()
    .min(0)
    .max(600_000)
    .default(0)
    .describe('Where nothing is there yet: wait so long for it. Keep it below 50,000 for most clients.'),
  encoding: encodingField,
});

const output = z.strictObject({
  ...textFields,
  from: bytesCount.describe('Position of the first byte of text.'),
  nextCursor: bytesCount.describe('The cursor to go on with; the same as before where nothing came.'),
  missingBytes: bytesCount.describe(
    'Bytes between the cursor and text that are not kept any more. Nothing brings them back.',
  ),
  moreBytes: bytesCount.describe('What is there behind nextCursor now: read on at once where it is not 0.'),
  ended: z.boolean().describe('This was the last of it: nothing will ever come behind nextCursor.'),
  state: processFields.state,
});

type Input = z.output<typeof input>;

export const readProcessOutputTool: Tool<typeof input, typeof output> = {
  name: 'read_process_output',
  title: 'Read what a process wrote',
  description: `Reads stdout or stderr of a process from a cursor on, at most maxBytes, also when the process has ended. Reading takes nothing away: any part can be read again while it is kept.
Go on with nextCursor until ended is true. With waitMs it waits for output where there is none yet: follow a process so, instead of asking again and again.
A cursor of -4000 gives the end of a long output. text ends with a whole character, and is base64 where the output is binary (encoding says so).`,
  annotations: { readOnlyHint: true, idempotentHint: true, openWorldHint: false },
  input,
  output,
  run: readProcessOutput,
};

async function readProcessOutput(given: Input, call: Call): Promise<z.output<typeof output>> {
  const { processId: id, stream } = given;
  const before = await call.agent.sessions.get(id);
  const start = startOf(given, before);
  const window = await readWindow(given, start.at, call);
  const after = await call.agent.sessions.get(id);
  const isLast = window.closed || (isOver(after) && after.exit?.outputComplete === true);
  const atEnd = window.from + window.bytes.length >= retained(after, stream).bytes;
  const ended = isLast && atEnd;
  const bytes = trimmed(window, { ended, exact: start.exact && window.from === start.at });
  const from = window.from + bytes.cut;
  const nextCursor = from + bytes.shown.length;
  const behind = retained(after, stream).bytes - nextCursor;
  return {
    ...encodeOutput(bytes.shown, given.encoding),
    from,
    nextCursor,
    missingBytes: from - start.at,
    // The beginning of a character is nothing that could be read on.
    moreBytes: behind === bytes.tail ? 0 : behind,
    ended,
    state: after.state,
  };
}

/** @throws HawserError `invalid_argument` for a place behind the end, or for a stream that there is not. */
function startOf(
  { processId: id, stream, cursor }: Input,
  info: SessionInfo,
): { at: number; exact: boolean } {
  if (stream === 'stderr' && info.stderr === null)
    throw new HawserError(
      'invalid_argument',
      `process ${id} runs in a terminal, where everything is stdout: read that`,
    );
  const { bytes } = retained(info, stream);
  if (cursor < 0) return { at: Math.max(0, bytes + cursor), exact: false };
  if (cursor <= bytes) return { at: cursor, exact: true };
  throw new HawserError(
    'invalid_argument',
    `cursor ${cursor} is behind the end of ${stream}, which has ${bytes} bytes: use the nextCursor of the answer before, or -4000 for the last 4000 bytes`,
  );
}

async function readWindow(given: Input, at: number, { agent, signal }: Call): Promise<Window> {
  const { processId: id, stream, maxBytes: bytesMax, waitMs } = given;
  const from =
    stream === 'stdout' ? { stdout: at, stderr: 'none' as const } : { stdout: 'none' as const, stderr: at };
  await using reading = await agent.sessions.output(id, { from });
  return await new WindowReader(reading, stream, { bytesMax, waitMs, signal }).window();
}

/** Without the pieces of a character at its edges, except where they are all that there is. */
function trimmed(
  { from, bytes }: Window,
  { ended, exact }: { ended: boolean; exact: boolean },
): { readonly shown: Buffer; readonly cut: number; readonly tail: number } {
  // Somebody who names a position has what lies before it; what begins anywhere begins with a character.
  const cut = exact || from === 0 ? 0 : cutCharacter(bytes);
  const end = Math.max(cut, ended ? bytes.length : wholeCharacters(bytes));
  return { shown: bytes.subarray(cut, end), cut, tail: bytes.length - end };
}

function retained(info: SessionInfo, stream: StreamName): RetainedOutput {
  return (stream === 'stdout' ? info.stdout : info.stderr) ?? { bytes: 0, dropped: 0, start: 0 };
}
