import { existsSync, readFileSync } from 'node:fs';

/** What agentd as the first process of a guest makes for its sessions, and hands the controllers to. */
const ofTheFirstProcess = '/sys/fs/cgroup/hawser';

/** The cgroup below which this process may make others: `undefined` where no hierarchy of version 2 is to be seen. */
export function delegatedCgroup(): string | undefined {
  if (process.pid === 1 && existsSync(`${ofTheFirstProcess}/cgroup.procs`)) return ofTheFirstProcess;
  return cgroupPath(readText('/proc/self/mountinfo'), readText('/proc/self/cgroup'));
}

/**
 * The directory of a process's own cgroup.
 *
 * @param mountinfo /proc/PID/mountinfo (proc_pid_mountinfo(5)): of the mounts, which may show a part
 *   of the hierarchy only.
 * @param membership /proc/PID/cgroup: `0::/path` is version 2's line.
 */
export function cgroupPath(mountinfo: string, membership: string): string | undefined {
  const own = /^0::(\/.*)$/m.exec(membership)?.[1];
  // `/..` is above the root of this cgroup namespace.
  if (own === undefined || own.startsWith('/..')) return undefined;
  for (const line of mountinfo.split('\n')) {
    const [fields = '', kind = ''] = line.split(' - ');
    if (!kind.startsWith('cgroup2 ')) continue;
    const [, , , root = '', mountPoint = ''] = fields.split(' ').map(unescaped);
    const base = root === '/' ? '' : root;
    if (own !== root && !own.startsWith(`${base}/`)) continue;
    const below = own.slice(base.length);
    return below === '/' || below === '' ? mountPoint : `${mountPoint}${below}`;
  }
  return undefined;
}

/** Space, tab, newline and backslash are octal in mountinfo. */
function unescaped(field: string): string {
  return field.replaceAll(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // no /proc
  }
}
