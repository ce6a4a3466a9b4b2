import { readFileSync } from 'node:fs';
import type { ProcessIdentity } from './process-identity.js';
import { isAlive } from './process-identity.js';

/** USER_HZ, which is 100 on every architecture that Node runs on (times(2), "clock ticks"). */
const ticksPerSecond = 100;

export interface ProcessUse {
  /** User and system time of the hypervisor since it was started, ms. */
  readonly cpuTimeMs: number;
  /** Resident memory of the hypervisor, bytes: what the guest has touched, and the hypervisor's own. */
  readonly memoryBytes: number;
}

/** @returns nothing for a process that is gone */
export function processUse(identity: ProcessIdentity): ProcessUse | undefined {
  try {
    const stat = readFileSync(`/proc/${identity.pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // The fields' numbers in proc(5), less 3: the first here is field 3.
    const ticks = Number(fields[11]) + Number(fields[12]);
    const rss = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${identity.pid}/status`, 'latin1'));
    if (!isAlive(identity)) return undefined;
    return { cpuTimeMs: (ticks * 1000) / ticksPerSecond, memoryBytes: Number(rss?.[1] ?? 0) * 1024 };
  } catch {
    return undefined; // it ended meanwhile
  }
}
