import { closeSync, constants, fstatSync, openSync, realpathSync } from 'node:fs';
import { HawserError } from '@hawser/protocol';
import { tryLock } from '../ffi/file-lock.js';
import type { DiskHold, VmRecord } from './registry/vm-record.js';
import type { PlannedDisk } from './vm-plan.js';

/**
 * The locks on a VM's disk images: shared for one that is only read, exclusive for one that is written.
 *
 * Each belongs to an open file, whose descriptor the hypervisor inherits. So it is there as long as the
 * supervisor or the hypervisor is, and the kernel takes it back, whoever dies in whatever way.
 */
export class DiskLocks {
  readonly holds: readonly DiskHold[];
  /** For the hypervisor to inherit. */
  readonly descriptors: readonly number[];

  private constructor(holds: readonly DiskHold[], descriptors: readonly number[]) {
    this.holds = holds;
    this.descriptors = descriptors;
  }

  /**
   * @param others the records of the VMs that are there, to name the holder
   * @throws HawserError `disk_in_use` with `holder`, `invalid_argument` for an image that cannot be opened
   */
  static acquire(disks: readonly PlannedDisk[], others: readonly VmRecord[]): DiskLocks {
    const holds: DiskHold[] = [];
    const descriptors: number[] = [];
    try {
      for (const disk of disks) {
        const mode = disk.readOnly ? 'shared' : 'exclusive';
        const fd = openImage(disk);
        descriptors.push(fd);
        const hold: DiskHold = { path: realpathSync(disk.path), identity: identityOf(fd), mode };
        if (!tryLock(fd, mode)) throw inUse(hold, holds, others);
        holds.push(hold);
      }
      return new DiskLocks(holds, descriptors);
    } catch (error) {
      for (const fd of descriptors) closeSync(fd);
      throw error;
    }
  }

  /** Closes the descriptors here; the locks stay as long as the hypervisor has its copies. */
  close(): void {
    for (const fd of this.descriptors) closeSync(fd);
  }
}

function openImage({ path, readOnly }: PlannedDisk): number {
  try {
    return openSync(path, readOnly ? constants.O_RDONLY : constants.O_RDWR);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new HawserError('invalid_argument', `the disk image ${path} cannot be opened: ${message}`, {
      errno: code,
      cause,
    });
  }
}

function identityOf(fd: number): string {
  const stat = fstatSync(fd, { bigint: true });
  return stat.isBlockDevice() ? `b${stat.rdev}` : `${stat.dev}:${stat.ino}`;
}

function inUse(wanted: DiskHold, ours: readonly DiskHold[], others: readonly VmRecord[]): HawserError {
  const forWhat = wanted.mode === 'exclusive' ? 'to write' : 'to read';
  const begin = `the disk image ${wanted.path}, wanted ${forWhat}, is in use`;
  if (ours.some(({ identity }) => identity === wanted.identity))
    return new HawserError('disk_in_use', `${begin} by this VM itself: it is in its list twice`);
  for (const { name, disks, hypervisor, supervisor } of others) {
    const theirs = disks.find(({ identity }) => identity === wanted.identity);
    if (theirs === undefined || (theirs.mode === 'shared' && wanted.mode === 'shared')) continue;
    const { pid } = hypervisor ?? supervisor;
    const how = theirs.mode === 'exclusive' ? 'writes' : 'reads';
    return new HawserError('disk_in_use', `${begin}: the VM ${name} (pid ${pid}) ${how} it`, {
      holder: { name, pid },
    });
  }
  return new HawserError('disk_in_use', `${begin} by a process that is no VM of this user's`);
}
