import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { HawserError } from '@hawser/protocol';
import { systemCallError } from '../ffi/errno.js';
import * as guest from '../ffi/guest.js';

export interface Mount {
  readonly source: string;
  readonly target: string;
  readonly type: string;
  /** As mount(8) writes them, `ro,nosuid,size=64m`: flags by name, the rest goes to the file system. */
  readonly options: string;
}

/** What Linux programs expect of a system. */
export const systemMounts: readonly Mount[] = [
  { source: 'proc', target: '/proc', type: 'proc', options: 'nosuid,nodev,noexec' },
  { source: 'sysfs', target: '/sys', type: 'sysfs', options: 'nosuid,nodev,noexec' },
  { source: 'devtmpfs', target: '/dev', type: 'devtmpfs', options: 'nosuid,mode=755' },
  {
    source: 'devpts',
    target: '/dev/pts',
    type: 'devpts',
    options: 'nosuid,noexec,gid=5,mode=620,ptmxmode=666',
  },
  { source: 'tmpfs', target: '/dev/shm', type: 'tmpfs', options: 'nosuid,nodev,mode=1777' },
  { source: 'tmpfs', target: '/run', type: 'tmpfs', options: 'nosuid,nodev,mode=755' },
  { source: 'tmpfs', target: '/tmp', type: 'tmpfs', options: 'nosuid,nodev,mode=1777' },
  {
    source: 'cgroup2',
    target: '/sys/fs/cgroup',
    type: 'cgroup2',
    options: 'nosuid,nodev,noexec,nsdelegate,memory_recursiveprot',
  },
];

/** Which devtmpfs does not make, and shells and scripts use. */
const deviceLinks: readonly (readonly [link: string, target: string])[] = [
  ['/dev/fd', '/proc/self/fd'],
  ['/dev/stdin', '/proc/self/fd/0'],
  ['/dev/stdout', '/proc/self/fd/1'],
  ['/dev/stderr', '/proc/self/fd/2'],
];

/** Mounts what is not mounted yet. What fails is told, and the rest goes on. */
export function mountSystem(failed: (error: HawserError) => void): void {
  const before = new Set(mountedTargets());
  for (const mount of systemMounts) {
    if (before.has(mount.target)) continue;
    try {
      mountOne(mount);
    } catch (error) {
      failed(error as HawserError);
    }
  }
  for (const [link, target] of deviceLinks) {
    try {
      symlinkSync(target, link);
    } catch {
      // There already, or /dev cannot be written to.
    }
  }
}

/** @throws HawserError `system_call_failed` */
export function mountOne({ source, target, type, options }: Mount): void {
  try {
    mkdirSync(target, { recursive: true });
  } catch {
    // On a read-only root the target has to be there; mount says so if it is not.
  }
  let flags = 0;
  const data: string[] = [];
  for (const option of options.split(',').filter(Boolean)) {
    if (Object.hasOwn(guest.mountFlags, option))
      flags |= guest.mountFlags[option as keyof typeof guest.mountFlags];
    else if (option !== 'rw' && option !== 'defaults') data.push(option);
  }
  const result = guest.mount(source, target, type, flags, data.join(','));
  if (result < 0)
    throw systemCallError('mount', result, `${source} on ${target}, ${type} with ${options || 'no options'}`);
}

/** `SOURCE:TARGET:TYPE[:OPTIONS]`, of the setting `mounts`. @throws HawserError `invalid_config` */
export function parseMount(text: string): Mount {
  const [, source, target, type, options = ''] = /^([^:]+):(\/[^:]*):([^:]+)(?::(.*))?$/.exec(text) ?? [];
  if (source === undefined || target === undefined || type === undefined)
    throw new HawserError('invalid_config', `mounts: ${text}: not SOURCE:TARGET:TYPE[:OPTIONS]`);
  return { source, target, type, options };
}

/** Mount points, those mounted last at the end (proc_pid_mountinfo(5)). */
export function mountedTargets(): string[] {
  let text: string;
  try {
    text = readFileSync('/proc/self/mountinfo', 'utf8');
  } catch {
    return []; // before /proc is there
  }
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) =>
      (line.split(' ')[4] as string).replace(/\\(\d{3})/g, (_, octal: string) =>
        String.fromCharCode(Number.parseInt(octal, 8)),
      ),
    );
}
