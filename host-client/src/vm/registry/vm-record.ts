import { lstatSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HawserError } from '@hawser/protocol';
import type { HypervisorName } from '../vm-options.js';
import type { ProcessIdentity } from './process-identity.js';

/** An image that the VM holds, by what it is and not by what it is called. */
export interface DiskHold {
  readonly path: string;
  /** `device:inode`, or `b` and the number of a block device. */
  readonly identity: string;
  readonly mode: 'shared' | 'exclusive';
}

export type VmState =
  /** The slot is taken, the hypervisor starts. */
  | 'reserved'
  /** The hypervisor runs, no agent has answered so far. */
  | 'booting'
  /** An agent answered. */
  | 'running';

/** What `DIR/vm.json` says of a VM. Only its supervisor writes it. */
export interface VmRecord {
  readonly format: 1;
  readonly id: string;
  readonly name: string;
  readonly state: VmState;
  readonly supervisor: ProcessIdentity;
  /** Missing while `reserved`. */
  readonly hypervisor?: ProcessIdentity;
  readonly hypervisorName: HypervisorName;
  readonly detached: boolean;
  readonly memoryMiB: number;
  readonly cpus: number;
  /** The line to the agent, for `connect`. */
  readonly line: string;
  readonly disks: readonly DiskHold[];
  readonly createdAtMs: number;
}

const fileName = 'vm.json';
/** A record of our own is a few kilobytes at most. */
const recordBytesMax = 1024 * 1024;

export function writeRecord(directory: string, record: VmRecord): void {
  const path = join(directory, fileName);
  writeFileSync(`${path}.new`, `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path); // whoever reads has the old one whole, or the new one whole
}

/** @returns nothing where there is no record (yet, or any more), or none that can be read */
export function readRecord(directory: string): VmRecord | undefined {
  const path = join(directory, fileName);
  try {
    if (lstatSync(path).size > recordBytesMax) return undefined;
    const record = JSON.parse(readFileSync(path, 'utf8')) as VmRecord;
    return record.format === 1 ? record : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new HawserError('internal', `${path} cannot be read: ${message}`, { errno: code, cause: error });
  }
}
