import type { SessionInfo, SessionMembers } from '../index.js';
import { compactAge, compactBytes, compactCpuTime } from './compact-amount.js';
import { processForest } from './process-forest.js';
import { commandText, oneLine, processText, stateText } from './session-cells.js';
import { type Column, tableLines } from './table.js';

/** A session, and its processes where those are shown too. */
export interface Shown {
  readonly session: SessionInfo;
  readonly members?: SessionMembers | undefined;
}

export interface TableOptions {
  /** By the guest's clock. */
  readonly at: Date;
  /** Whole ids, and nothing cut. */
  readonly whole: boolean;
  /** Of the terminal; without it nothing is cut. */
  readonly columnsMax: number | undefined;
}

const columns: readonly Column[] = [
  { title: 'SESSION' },
  { title: 'NAME', narrowest: 8 },
  { title: 'PID', align: 'right' },
  { title: 'STATE' },
  { title: 'AGE', align: 'right' },
  { title: 'CPU', align: 'right' },
  { title: 'MEM', align: 'right' },
  { title: 'PROCS', align: 'right' },
  { title: 'COMMAND', narrowest: 7 },
];

/** The table of `hawser ps`, a line each. */
export function psTable(shown: readonly Shown[], { at, whole, columnsMax }: TableOptions): string[] {
  const rows = shown.flatMap(({ session, members }) => [
    sessionRow(session, at, whole),
    ...(members === undefined ? [] : processRows(members, at)),
  ]);
  return tableLines(columns, rows, whole ? undefined : columnsMax);
}

function sessionRow(session: SessionInfo, at: Date, whole: boolean): string[] {
  const { stats, exit, startedAt } = session;
  const cpuUs =
    stats !== null
      ? stats.cpuUserUs + stats.cpuSystemUs
      : exit !== null
        ? exit.rusage.userUs + exit.rusage.systemUs
        : undefined;
  return [
    oneLine(whole ? session.id : String(session.generation)),
    oneLine(session.labels.name ?? '-'),
    session.pid === 0 ? '-' : String(session.pid),
    oneLine(stateText(session)),
    startedAt === null ? '-' : compactAge(at.getTime() - startedAt.getTime()),
    cpuUs === undefined ? '-' : compactCpuTime(cpuUs),
    stats === null ? '-' : compactBytes(stats.memoryBytes),
    stats === null ? '-' : String(stats.processes),
    commandText(session),
  ];
}

function processRows({ processes, omitted = 0 }: SessionMembers, at: Date): string[][] {
  const rows = processForest(processes).map(({ branch, process }) => [
    '',
    '',
    String(process.pid),
    oneLine(process.state),
    compactAge(at.getTime() - process.startedAtUs / 1000),
    compactCpuTime(process.cpuUserUs + process.cpuSystemUs),
    compactBytes(process.rssBytes),
    '',
    `${branch}${processText(process)}`,
  ]);
  if (omitted > 0) rows.push([...columns.slice(1).map(() => ''), `and ${omitted} more`]);
  return rows;
}
