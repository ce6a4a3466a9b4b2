import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';

/** Where the guest's control groups are, and the one below which sessions get theirs. */
export const cgroupRoot = '/sys/fs/cgroup';
export const sessionsCgroup = `${cgroupRoot}/hawser`;
const agentCgroup = `${cgroupRoot}/agentd`;

/**
 * Hands the controllers down to the sessions' group, and puts the agent into a leaf of its own: a
 * group that hands controllers down holds no processes (cgroups(7), "no internal processes").
 *
 * @throws Error of the file system, where the kernel has no cgroup2
 */
export function delegateCgroups(): void {
  mkdirSync(agentCgroup, { recursive: true });
  mkdirSync(sessionsCgroup, { recursive: true });
  writeFileSync(`${agentCgroup}/cgroup.procs`, '0');
  for (const group of [cgroupRoot, sessionsCgroup]) enableControllers(group);
}

/** Each by itself: one that is refused, as cpu is beside real-time processes, leaves the others. */
function enableControllers(group: string): void {
  for (const name of readFileSync(`${group}/cgroup.controllers`, 'utf8')
    .trim()
    .split(/\s+/)
    .filter(Boolean)) {
    try {
      writeFileSync(`${group}/cgroup.subtree_control`, `+${name}`);
    } catch {
      // That one stays with the root.
    }
  }
}
