import type { Readable } from 'node:stream';
import type { Agent, OutputOptions } from '../index.js';
import { tellGap } from './carry.js';
import { findSession } from './find-session.js';
import { outputFailed } from './follow.js';
import { type AgentFlags, onAgent } from './on-agent.js';
import { OutputCopy, openLocalOutput } from './output-copy.js';
import type { OutputStart } from './parse-positions.js';

export interface LogsFlags extends AgentFlags {
  readonly follow?: true;
  readonly sinceByte?: OutputStart;
  readonly tail?: number;
  readonly stdout?: true;
  readonly stderr?: true;
}

/** `hawser logs`: what a session has written, each output to its own; resolves with the exit code, everything written. */
export function logs(line: string, name: string, flags: LogsFlags): Promise<number> {
  return onAgent(line, flags, async (agent) => {
    const id = await findSession(agent, name);
    const start = flags.tail === undefined ? flags.sinceByte : await beforeEnd(agent, id, flags.tail);
    await using output = await agent.sessions.output(id, {
      follow: flags.follow === true,
      from: outputsFrom(flags, start),
    });
    const { stdout, stderr } = output.positions;
    const copies = [
      copy(output.stdout, 1, stdout.from),
      ...(stderr === null ? [] : [copy(output.stderr, 2, stderr.from)]),
    ].filter((one) => one !== undefined);
    const written = Promise.all(copies.map((one) => one.reached(Number.POSITIVE_INFINITY)));
    const failed = Promise.race(copies.map((one) => one.failed));
    const error = await Promise.race([failed, written.then(() => undefined)]);
    if (error !== undefined) return await outputFailed(error);
    await output.ended;
    return 0;
  });
}

/** From the very first byte unless another is said: what of that is not kept any more is told as a gap. */
function outputsFrom(
  { stdout, stderr }: LogsFlags,
  start: OutputStart = {},
): NonNullable<OutputOptions['from']> {
  const both = stdout === stderr;
  return {
    stdout: both || stdout ? (start.stdout ?? 0) : 'none',
    stderr: both || stderr ? (start.stderr ?? 0) : 'none',
  };
}

/** So many bytes before what is there now. */
async function beforeEnd(agent: Agent, id: string, bytes: number): Promise<OutputStart> {
  const { stdout, stderr } = await agent.sessions.get(id);
  return { stdout: Math.max(0, stdout.bytes - bytes), stderr: Math.max(0, (stderr?.bytes ?? 0) - bytes) };
}

function copy(source: Readable | null, fd: 1 | 2, from: number): OutputCopy | undefined {
  if (source === null) return undefined;
  const name = fd === 1 ? 'stdout' : 'stderr';
  return new OutputCopy(source, openLocalOutput(fd), from, (gap) => tellGap(name, gap, '\n'));
}
