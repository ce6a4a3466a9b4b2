import type { Agent } from '../index.js';
import { type AgentFlags, onAgent } from './on-agent.js';
import { printOutput } from './report.js';
import { localTerminalSize } from './terminal.js';
import { watchLive } from './top-live.js';
import { sortedUsages, type UsageOrder } from './usage.js';
import { usageSeries } from './usage-series.js';
import { totalsLine, usageLines } from './usage-table.js';

export interface TopFlags extends AgentFlags {
  readonly sort: UsageOrder;
  /** Milliseconds. */
  readonly interval: number;
  readonly count?: number;
  readonly once?: true;
}

/** `hawser top`: a screen of its own in a terminal, else a table after each interval. */
export function top(line: string, flags: TopFlags): Promise<number> {
  return onAgent(line, flags, async (agent, stopped) => {
    const count = flags.once ? 1 : flags.count;
    const terminal = process.stdout.isTTY && process.stdin.isTTY;
    if (count === undefined && terminal) await watchLive(agent, flags, stopped);
    else await printTables(agent, flags, count ?? Number.POSITIVE_INFINITY);
    return 0;
  });
}

async function printTables(agent: Agent, { sort, interval }: TopFlags, count: number): Promise<void> {
  let printed = 0;
  for await (const { usages: used, omitted, compared } of usageSeries(agent, interval)) {
    if (!compared) continue;
    const columnsMax = process.stdout.isTTY ? localTerminalSize()?.cols : undefined;
    const more = omitted > 0 ? [`and ${omitted} more`] : [];
    const lines = [totalsLine(used), ...usageLines(sortedUsages(used, sort), columnsMax), ...more];
    await printOutput(`${printed > 0 ? '\n' : ''}${lines.join('\n')}`);
    printed += 1;
    if (printed >= count) return;
  }
}
