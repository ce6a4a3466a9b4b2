import { setTimeout as delay } from 'node:timers/promises';
import { HawserError } from '@hawser/protocol';
import * as z from 'zod';
import type { SessionInfo } from '../sessions/session-registry.js';
import { untilAborted } from './cancelled.js';
import { describeProcess, isOver, processFields, processId } from './process-fields.js';
import type { Call, Tool } from './tool.js';
import { waited } from './wait-for-process.js';

/** Whether the last descendants are gone is looked at so often; only the leader's end is told. */
const lookMs = 50;

/** What is still there so long after SIGKILL hangs in the kernel. */
const unkillableMs = 5_000;

const input = z.strictObject({
  processId,
  signal: z
    .string()
    .optional()
    .describe(
      'Only this signal, such as SIGINT, SIGHUP or SIGKILL. Default: SIGTERM, and SIGKILL to what is left after waitMs.',
    ),
  tree: z
    .boolean()
    .default(true)
    .describe('All processes that it has started, too. False: only the process itself.'),
  waitMs: z
    .number()
    .int()
    .min(0)
    .max(600_000)
    .optional()
    .describe('How long to wait for its end. Default: 5000, or 1000 where a signal is named.'),
});

const output = z.strictObject({
  ...processFields,
  gone: z.boolean().describe('It has ended; with tree, everything that it had started as well.'),
  forced: z.boolean().describe('SIGKILL was needed.'),
});

type Input = z.output<typeof input>;

export const killProcessTool: Tool<typeof input, typeof output> = {
  name: 'kill_process',
  title: 'End a process',
  description: `Ends a process and all that it has started: SIGTERM, and after waitMs SIGKILL to what is left. With signal, sends only that one, and says whether the process is gone then.
One that has ended already is no error. What it wrote can still be read.`,
  annotations: { readOnlyHint: false, destructiveHint: true, idempotentHint: true, openWorldHint: false },
  input,
  output,
  run: (given, call) => untilAborted(call.signal, killProcess(given, call)),
};

async function killProcess(given: Input, call: Call): Promise<z.output<typeof output>> {
  const { tree } = given;
  const named = given.signal?.toUpperCase();
  const waitMs = given.waitMs ?? (named === undefined ? 5_000 : 1_000);
  await signalIt(given, named ?? 'SIGTERM', call);
  let info = await gone(given, waitMs, call);
  const forced = named === undefined && !isGone(info, tree);
  if (forced) {
    await signalIt(given, 'SIGKILL', call);
    info = await gone(given, Math.max(waitMs, unkillableMs), call);
  }
  return { ...describeProcess(info), gone: isGone(info, tree), forced };
}

/** One that has ended needs no signal. @throws HawserError `unknown_session`, `unknown_signal`. */
async function signalIt({ processId: id, tree }: Input, signal: string, { agent }: Call): Promise<void> {
  try {
    if (tree && /^(SIG)?KILL$/.test(signal)) await agent.sessions.killTree(id);
    else await agent.sessions.signal(id, signal, { target: tree ? 'tree' : 'leader' });
  } catch (error) {
    if (!(error instanceof HawserError) || error.code !== 'session_ended') throw error;
  }
}

async function gone(
  { processId: id, tree }: Input,
  waitMs: number,
  { agent, signal }: Call,
): Promise<SessionInfo> {
  const deadline = performance.now() + waitMs;
  let info = await waited(agent, id, waitMs);
  while (!isGone(info, tree) && performance.now() < deadline && !signal.aborted) {
    await delay(lookMs);
    info = await agent.sessions.get(id);
  }
  return info;
}

function isGone(info: SessionInfo, tree: boolean): boolean {
  return isOver(info) && (!tree || info.stats === null);
}
