import { HawserError } from '@hawser/protocol';
import { errnoName } from '../../ffi/errno.js';
import type { CgroupDirectory } from './cgroup-files.js';
import type { Controller } from './cgroup-hierarchy.js';
import type { CgroupLimits } from './process-tree.js';

/** Of CPU time, microseconds; the kernel's own default. */
const periodUs = 100_000;
/** The kernel takes no less of a period (kernel/sched/core.c, min_cfs_quota_period). */
const quotaUsMin = 1_000;
const processorsMax = 1_000_000;
const weightMax = 10_000;

/** One file of a cgroup, and what is to be written there. */
export interface LimitFile {
  readonly limit: keyof CgroupLimits;
  readonly controller: Controller;
  readonly file: string;
  readonly text: string;
}

/** @throws HawserError `invalid_argument` for a value that no kernel would take. */
export function limitFiles(limits: CgroupLimits): LimitFile[] {
  const files: LimitFile[] = [];
  const add = (limit: keyof CgroupLimits, controller: Controller, file: string, text: string): void => {
    files.push({ limit, controller, file, text });
  };
  const { memoryMax, memoryHigh, pidsMax, cpuMax, ioWeight } = limits;
  if (memoryMax !== undefined) add('memoryMax', 'memory', 'memory.max', String(memoryMax));
  if (memoryHigh !== undefined) add('memoryHigh', 'memory', 'memory.high', String(memoryHigh));
  if (pidsMax !== undefined) add('pidsMax', 'pids', 'pids.max', String(pidsMax));
  if (cpuMax !== undefined) {
    inRange('cpuMax', cpuMax, quotaUsMin / periodUs, processorsMax);
    add('cpuMax', 'cpu', 'cpu.max', `${Math.round(cpuMax * periodUs)} ${periodUs}`);
  }
  if (ioWeight !== undefined) {
    inRange('ioWeight', ioWeight, 1, weightMax);
    add('ioWeight', 'io', 'io.weight', `default ${ioWeight}`);
  }
  return files;
}

/** For an agent that has no such controller, or no cgroups. Nothing that was asked for is left out in silence. */
export function unsupportedLimit({ limit, controller }: LimitFile, why: string): HawserError {
  return new HawserError(
    'unsupported',
    `cgroup.${limit} needs the cgroup v2 controller ${controller}, and ${why}`,
    { stage: 'cgroup' },
  );
}

/** @throws HawserError `unsupported` where the kernel has no such file, `limit_not_allowed` where it refuses the value. */
export function writeLimits(directory: CgroupDirectory, files: readonly LimitFile[]): void {
  for (const entry of files) {
    const result = directory.write(entry.file, entry.text);
    if (result === 0) continue;
    const errno = errnoName(result);
    if (errno === 'ENOENT') throw unsupportedLimit(entry, `this kernel has no ${entry.file}`);
    throw new HawserError(
      'limit_not_allowed',
      `cgroup.${entry.limit}: ${entry.file} refuses "${entry.text}" with ${errno}`,
      { stage: 'cgroup', errno },
    );
  }
}

function inRange(name: string, value: number, min: number, max: number): void {
  if (value >= min && value <= max) return;
  throw new HawserError('invalid_argument', `cgroup.${name} ${value} is not from ${min} to ${max}`, {
    stage: 'validate',
  });
}
