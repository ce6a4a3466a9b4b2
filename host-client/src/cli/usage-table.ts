import { compactBytes } from './compact-amount.js';
import { type Column, tableLines } from './table.js';
import { type Usage, type UsageOrder, usageTotals } from './usage.js';

const columns: readonly Column[] = [
  { title: 'SESSION' },
  { title: 'NAME', narrowest: 8 },
  { title: 'CPU %', align: 'right' },
  { title: 'MEM', align: 'right' },
  { title: 'PEAK', align: 'right' },
  { title: 'PROCS', align: 'right' },
  { title: 'COMMAND', narrowest: 7 },
];

/** The table of `hawser top`: its titles, and a line for each session. */
export function usageLines(sorted: readonly Usage[], columnsMax: number | undefined): string[] {
  return tableLines(columns, sorted.map(usageRow), columnsMax);
}

/** `3 sessions, 7 processes, CPU 123.4 %, memory 1.2G` */
export function totalsLine(all: readonly Usage[]): string {
  const { sessions, processes, cpuPercent, memoryBytes } = usageTotals(all);
  return [
    `${sessions} ${sessions === 1 ? 'session' : 'sessions'}`,
    `${processes} ${processes === 1 ? 'process' : 'processes'}`,
    `CPU ${cpuPercent.toFixed(1)} %`,
    `memory ${compactBytes(memoryBytes)}`,
  ].join(', ');
}

export const orderNames: Readonly<Record<UsageOrder, string>> = {
  cpu: 'CPU',
  memory: 'memory',
  processes: 'processes',
  name: 'name',
};

function usageRow(usage: Usage): string[] {
  return [
    usage.generation === undefined ? '-' : String(usage.generation),
    usage.name || '-',
    usage.cpuPercent === undefined ? '-' : usage.cpuPercent.toFixed(1),
    compactBytes(usage.memoryBytes),
    usage.peakBytes === undefined ? '-' : compactBytes(usage.peakBytes),
    String(usage.processes),
    usage.command,
  ];
}
