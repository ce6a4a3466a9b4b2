import { HawserError } from '@hawser/protocol';
import * as z from 'zod';
import { untilAborted } from './cancelled.js';
import { bytesCount, endText, isOver, processId } from './process-fields.js';
import type { StdinWriters } from './stdin-writers.js';
import type { Call, Tool } from './tool.js';

/** How long a process that does not read is waited for. */
const waitMs = 1_000;
const textCharactersMax = 1024 * 1024;

const input = z.strictObject({
  processId,
  text: z
    .string()
    .max(textCharactersMax)
    .optional()
    .describe('What to write, as it is: a line needs a "\\n" at its end.'),
  base64: z
    .base64()
    .max(2 * textCharactersMax)
    .optional()
    .describe('Bytes to write instead of text.'),
  end: z
    .boolean()
    .default(false)
    .describe('Close stdin behind this: the process reads an end, and nothing more can be written.'),
});

const output = z.strictObject({
  writtenBytes: bytesCount,
  queuedBytes: bytesCount.describe(
    'Of all that was written, bytes that wait since the process does not read. They come to it when it does: do not write them again.',
  ),
  stdinClosed: z.boolean(),
});

type Input = z.output<typeof input>;

export function writeProcessInputTool(writers: StdinWriters): Tool<typeof input, typeof output> {
  return {
    name: 'write_process_input',
    title: 'Write to a process',
    description: `Writes text to the standard input of a process that start_process started; with end it closes it, which is what many programs wait for (cat, sort, python without -i).
Read the answer of the process with read_process_output, from the nextCursor of before and with waitMs.`,
    annotations: { readOnlyHint: false, destructiveHint: true, idempotentHint: false, openWorldHint: true },
    input,
    output,
    run: (given, call) => writeProcessInput(writers, given, call),
  };
}

async function writeProcessInput(
  writers: StdinWriters,
  given: Input,
  { agent, signal }: Call,
): Promise<z.output<typeof output>> {
  const { processId: id, end } = given;
  const bytes = bytesOf(given);
  const info = await agent.sessions.get(id);
  if (isOver(info))
    throw new HawserError('session_ended', `process ${id} ${endText(info)} and reads no more`);
  const queuedBytes = await untilAborted(signal, writers.write(agent, id, { bytes, end, waitMs }));
  return { writtenBytes: bytes.length, queuedBytes, stdinClosed: end };
}

function bytesOf({ text, base64, end }: Input): Buffer {
  if (text !== undefined && base64 !== undefined)
    throw new HawserError('invalid_argument', 'both "text" and "base64" are there: give one of them');
  if (text === undefined && base64 === undefined && !end)
    throw new HawserError('invalid_argument', 'nothing to do: give "text" or "base64", or "end": true');
  return base64 === undefined ? Buffer.from(text ?? '') : Buffer.from(base64, 'base64');
}
