import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HawserError } from '@hawser/protocol';
import type { PlannedDisk, VmPlan } from './vm-plan.js';

/** The plan of the VM that was saved; it is written last, so that a snapshot without it is not whole. */
export const snapshotFile = 'snapshot.json';

export function savedDisk(directory: string, index: number): string {
  return join(directory, `disk${index}.raw`);
}

/** A disk's place in a restored VM: one that was saved is copied into the VM's folder. */
export function restoredDisk(disk: PlannedDisk, index: number, directory: string): PlannedDisk {
  return disk.savedIn === undefined ? disk : { ...disk, path: join(directory, `disk${index}.raw`) };
}

/**
 * The plan of a VM that goes on from a snapshot.
 *
 * @throws HawserError `invalid_argument` for a folder that is no whole snapshot
 */
export function planOfSnapshot(directory: string, name: string | undefined): VmPlan {
  let plan: VmPlan;
  try {
    plan = JSON.parse(readFileSync(join(directory, snapshotFile), 'utf8')) as VmPlan;
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new HawserError('invalid_argument', `${directory} is no snapshot: ${message}`, {
      errno: code,
      cause,
    });
  }
  return {
    ...plan,
    name,
    restoreFrom: directory,
    disks: plan.disks.map(({ path, readOnly }, index) =>
      readOnly ? { path, readOnly } : { path, readOnly, savedIn: savedDisk(directory, index) },
    ),
  };
}
