import { readFileSync } from 'node:fs';

/** A process and when it started: numbers are given out again. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since the boot (/proc/PID/stat, field 22), and the boot's id; empty where there is no /proc. */
  readonly started: string;
}

/** @returns nothing for a process that does not exist, or is a zombie */
export function identify(pid: number): ProcessIdentity | undefined {
  if (process.platform !== 'linux') return exists(pid) ? { pid, started: '' } : undefined;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state] = fields;
    if (state === 'Z' || state === 'X') return undefined;
    return { pid, started: `${fields[19]} ${bootId()}` };
  } catch {
    return undefined; // no such process
  }
}

export function isAlive(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.started === identity.started;
}

let knownBootId: string | undefined;

function bootId(): string {
  knownBootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  return knownBootId;
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
