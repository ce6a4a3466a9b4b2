import type { SessionProcess } from '../index.js';

/** A process, and what is drawn before it to show whose child it is. */
export interface Branch {
  readonly branch: string;
  readonly process: SessionProcess;
}

/** Each process below its parent, the oldest first; one whose parent is none of them stands for itself. */
export function processForest(processes: readonly SessionProcess[]): Branch[] {
  const pids = new Set(processes.map(({ pid }) => pid));
  const childrenOf = new Map<number, SessionProcess[]>();
  for (const process of processes.toSorted((a, b) => a.startedAtUs - b.startedAtUs || a.pid - b.pid)) {
    const { pid, parentPid } = process;
    const parent = pids.has(parentPid) && parentPid !== pid ? parentPid : 0;
    childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), process]);
  }
  const drawn: Branch[] = [];
  // A stack of its own: how deep a guest's tree is, is the guest's choice.
  const open = drawable(childrenOf.get(0), '');
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    drawn.push({ branch: `${next.indent}${next.last ? '└─ ' : '├─ '}`, process: next.process });
    open.push(...drawable(childrenOf.get(next.process.pid), `${next.indent}${next.last ? '   ' : '│  '}`));
  }
  return drawn;
}

interface Drawable {
  readonly process: SessionProcess;
  readonly indent: string;
  readonly last: boolean;
}

/** In the order of a stack: the last comes first. */
function drawable(siblings: readonly SessionProcess[] = [], indent: string): Drawable[] {
  return siblings
    .map((process, index) => ({ process, indent, last: index === siblings.length - 1 }))
    .toReversed();
}
