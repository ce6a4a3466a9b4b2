import { setTimeout as delay } from 'node:timers/promises';
import { HawserError } from '@hawser/protocol';
import * as z from 'zod';
import type { SessionProcess, SessionStats } from '../sessions/process-tree.js';
import type { StatsSample } from '../sessions/stats-series.js';
import { bytesCount, endText, isOver, processId, shortened } from './process-fields.js';
import type { Call, Tool } from './tool.js';

const commandCharactersMax = 200;

const input = z.strictObject({
  processId: processId.optional().describe('Of this one, with a list of its members. Default: of all.'),
  sampleMs: z
    .number()
    .int()
    .min(0)
    .max(30_000)
    .default(250)
    .describe('Over how long cpuPercent is measured; 0: not at all.'),
  limit: z.number().int().min(1).max(500).default(50).describe('Most entries in each list.'),
});

const usage = z.strictObject({
  processId: z.string(),
  cpuPercent: z.number().nullable().describe('Of one processor: 200 is two of them, busy.'),
  cpuUserMs: z.number().describe('In all, until now.'),
  cpuSystemMs: z.number(),
  memoryBytes: bytesCount,
  memoryPeakBytes: bytesCount.nullable().describe('Where the guest counts that.'),
  memberCount: bytesCount.describe('Processes that live.'),
  oomKills: bytesCount.nullable(),
});

const member = z.strictObject({
  pid: z.number().int(),
  parentPid: z.number().int(),
  name: z.string(),
  command: z.string(),
  state: z.string().describe("The kernel's letter: R, S, D, Z, T."),
  threads: z.number().int(),
  cpuMs: z.number(),
  memoryBytes: bytesCount,
});

const output = z.strictObject({
  at: z.string().describe("ISO time by the guest's clock."),
  processes: z.array(usage).describe('Those that use most memory first.'),
  members: z
    .array(member)
    .nullable()
    .describe('All processes of the one that was asked for, by memory; null where all were.'),
  omitted: bytesCount.describe('Further entries, beyond limit.'),
});

type Input = z.output<typeof input>;

export const processStatsTool: Tool<typeof input, typeof output> = {
  name: 'process_stats',
  title: 'CPU and memory of processes',
  description: `Says what processes use: CPU time and percent, memory, number of members (the process and all that it has started), of one or of all that are running.
For one, with the list of its members: pid, command, state, CPU time, memory. Memory of the whole guest: exec {"command": "free -m"}.`,
  annotations: { readOnlyHint: true, idempotentHint: true, openWorldHint: false },
  input,
  output,
  run: processStats,
};

async function processStats(
  { processId: sessionId, sampleMs, limit }: Input,
  { agent, signal }: Call,
): Promise<z.output<typeof output>> {
  if (sessionId !== undefined) await assertAlive(agent, sessionId);
  const which = sessionId === undefined ? {} : { sessionId };
  const earlier = sampleMs === 0 ? undefined : await agent.sessions.allStats(which);
  if (earlier !== undefined) await delay(sampleMs, undefined, { signal });
  const now = await agent.sessions.allStats(which);
  const processes = now.sessions
    .map((stats) => usageOf(stats, { earlier, now }))
    .sort((a, b) => b.memoryBytes - a.memoryBytes);
  const members = sessionId === undefined ? undefined : await agent.sessions.members(sessionId);
  const memberList = members?.processes.map(memberOf).sort((a, b) => b.memoryBytes - a.memoryBytes);
  const hidden = Math.max(0, processes.length - limit) + Math.max(0, (memberList?.length ?? 0) - limit);
  return {
    at: now.at.toISOString(),
    processes: processes.slice(0, limit),
    members: memberList?.slice(0, limit) ?? null,
    omitted: now.omitted + (members?.omitted ?? 0) + hidden,
  };
}

/** @throws HawserError `unknown_session`, `session_ended`. */
async function assertAlive(agent: Call['agent'], id: string): Promise<void> {
  const info = await agent.sessions.get(id);
  if (info.stats !== null || !isOver(info)) return;
  throw new HawserError('session_ended', `process ${id} ${endText(info)} and uses nothing`);
}

function usageOf(
  stats: SessionStats & { readonly id: string },
  { earlier, now }: { readonly earlier: StatsSample | undefined; readonly now: StatsSample },
): z.output<typeof usage> {
  const before = earlier?.sessions.find(({ id }) => id === stats.id);
  const elapsedUs = earlier === undefined ? 0 : (now.at.getTime() - earlier.at.getTime()) * 1000;
  const cpuUs = (of: SessionStats): number => of.cpuUserUs + of.cpuSystemUs;
  return {
    processId: stats.id,
    // Members that have ended take their time with them, where the agent only walks.
    cpuPercent:
      before === undefined || elapsedUs <= 0
        ? null
        : Math.max(0, Math.round(((cpuUs(stats) - cpuUs(before)) / elapsedUs) * 1000) / 10),
    cpuUserMs: Math.round(stats.cpuUserUs / 1000),
    cpuSystemMs: Math.round(stats.cpuSystemUs / 1000),
    memoryBytes: stats.memoryBytes,
    memoryPeakBytes: stats.memoryPeakBytes ?? null,
    memberCount: stats.processes,
    oomKills: stats.oomKills ?? null,
  };
}

function memberOf(process: SessionProcess): z.output<typeof member> {
  const { pid, parentPid, name, state, threads, rssBytes } = process;
  const words = process.command.map((word) =>
    typeof word === 'string' ? word : Buffer.from(word).toString(),
  );
  return {
    pid,
    parentPid,
    name,
    command: shortened(words.join(' '), commandCharactersMax),
    state,
    threads,
    cpuMs: Math.round((process.cpuUserUs + process.cpuSystemUs) / 1000),
    memoryBytes: rssBytes,
  };
}
