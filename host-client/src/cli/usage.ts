import type { SessionInfo, StatsSample } from '../index.js';
import { commandText, oneLine } from './session-cells.js';

export const usageOrders = ['cpu', 'memory', 'processes', 'name'] as const;
export type UsageOrder = (typeof usageOrders)[number];

/** What a session used between two samples. */
export interface Usage {
  readonly id: string;
  /** Its number; absent until more is known of it than what it uses, as are its name and command. */
  readonly generation: number | undefined;
  readonly name: string;
  readonly command: string;
  /** Of one processor; absent until there are two samples of it. */
  readonly cpuPercent: number | undefined;
  readonly memoryBytes: number;
  readonly peakBytes: number | undefined;
  readonly processes: number;
}

export interface UsageTotals {
  readonly sessions: number;
  readonly processes: number;
  readonly cpuPercent: number;
  readonly memoryBytes: number;
}

/** Each session of the newer sample, measured against the one before. */
export function usages(
  sample: StatsSample,
  before: StatsSample | undefined,
  known: ReadonlyMap<string, SessionInfo>,
): Usage[] {
  const cpuBefore = new Map(before?.sessions.map((stats) => [stats.id, cpuUs(stats)]));
  const elapsedUs = before === undefined ? 0 : (sample.at.getTime() - before.at.getTime()) * 1000;
  return sample.sessions.map((stats) => {
    const info = known.get(stats.id);
    const earlierUs = cpuBefore.get(stats.id);
    // The guest's clock may have been set meanwhile.
    const measured = earlierUs !== undefined && elapsedUs > 0;
    return {
      id: stats.id,
      generation: info?.generation,
      name: info === undefined ? '' : oneLine(info.labels.name ?? ''),
      command: info === undefined ? '' : commandText(info),
      // A process that has ended may take its time with it where nothing counts for the session as a whole.
      cpuPercent: measured ? (Math.max(0, cpuUs(stats) - earlierUs) / elapsedUs) * 100 : undefined,
      memoryBytes: stats.memoryBytes,
      peakBytes: stats.memoryPeakBytes,
      processes: stats.processes,
    };
  });
}

/** The most first, names by the alphabet and those without one last; the oldest first where they are equal. */
export function sortedUsages(all: readonly Usage[], order: UsageOrder): Usage[] {
  switch (order) {
    case 'cpu':
      return all.toSorted((a, b) => (b.cpuPercent ?? -1) - (a.cpuPercent ?? -1));
    case 'memory':
      return all.toSorted((a, b) => b.memoryBytes - a.memoryBytes);
    case 'processes':
      return all.toSorted((a, b) => b.processes - a.processes);
    case 'name':
      return all.toSorted((a, b) => compareNames(a.name, b.name));
  }
}

export function usageTotals(all: readonly Usage[]): UsageTotals {
  const sum = (of: (usage: Usage) => number): number => all.reduce((total, usage) => total + of(usage), 0);
  return {
    sessions: all.length,
    processes: sum(({ processes }) => processes),
    cpuPercent: sum(({ cpuPercent }) => cpuPercent ?? 0),
    memoryBytes: sum(({ memoryBytes }) => memoryBytes),
  };
}

function cpuUs(stats: StatsSample['sessions'][number]): number {
  return stats.cpuUserUs + stats.cpuSystemUs;
}

function compareNames(a: string, b: string): number {
  if ((a === '') !== (b === '')) return a === '' ? 1 : -1;
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
