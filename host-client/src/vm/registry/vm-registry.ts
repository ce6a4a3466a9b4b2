import { randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { HawserError } from '@hawser/protocol';
import { lockAndWait } from '../../ffi/file-lock.js';
import { isAlive } from './process-identity.js';
import { socketPathBytesMax, vmsDirectory } from './runtime-directory.js';
import type { VmRecord } from './vm-record.js';
import { readRecord, writeRecord } from './vm-record.js';

/** The longest name of a socket in a VM's folder. */
const socketNameBytesMax = 'hypervisor.sock'.length;
const orphanWaitMs = 5;

export interface FoundVm {
  /** The VM's private folder. */
  readonly directory: string;
  readonly record: VmRecord;
}

export interface SlotRequest {
  readonly name: string | undefined;
  readonly vmsMax: number;
}

/**
 * The VMs of this user. Each is a folder with its record, sockets and log; there is no other table, so that
 * removing the folder frees the slot. One whose supervisor is dead is removed by the next who looks.
 */
export class VmRegistry {
  readonly directory: string;

  constructor(directory: string = vmsDirectory()) {
    this.directory = directory;
  }

  /** The VMs whose supervisor lives; those that are gone are removed. Needs koffi only where there are such. */
  list(): FoundVm[] {
    const live = this.#live();
    if (live.length < this.#folders().length) this.#locked(() => this.#sweep());
    return live;
  }

  /** @throws HawserError `unknown_vm` */
  find(nameOrId: string): FoundVm {
    const all = this.list();
    const found =
      all.find(({ record }) => record.name === nameOrId) ?? all.find(({ record }) => record.id === nameOrId);
    if (found === undefined)
      throw new HawserError('unknown_vm', `there is no VM ${JSON.stringify(nameOrId)}`);
    return found;
  }

  /**
   * Takes a slot: makes the VM's folder, with the record that `describe` gives.
   *
   * @param describe is called with the slot's id and name and the records of all other VMs, while nobody
   *   else takes or frees one; where it throws, no slot is taken
   * @throws HawserError `too_many_vms`, `vm_name_in_use`
   */
  reserve(
    { name, vmsMax }: SlotRequest,
    describe: (slot: { id: string; name: string; directory: string }, others: VmRecord[]) => VmRecord,
  ): FoundVm {
    return this.#locked(() => {
      this.#sweep();
      const others = this.#live().map(({ record }) => record);
      if (others.length >= vmsMax)
        throw new HawserError('too_many_vms', `${others.length} VMs are there, and vmsMax is ${vmsMax}`);
      const same = others.find((other) => other.name === name);
      if (same !== undefined)
        throw new HawserError(
          'vm_name_in_use',
          `a VM named ${same.name} is there (pid ${(same.hypervisor ?? same.supervisor).pid})`,
        );
      const id = randomBytes(4).toString('hex');
      const directory = join(this.directory, id);
      const bytes = Buffer.byteLength(directory) + 1 + socketNameBytesMax;
      if (bytes > socketPathBytesMax)
        throw new HawserError(
          'invalid_config',
          `the paths of sockets in ${directory} of ${bytes} bytes exceed the ${socketPathBytesMax} that unix(7) allows: set XDG_RUNTIME_DIR to a shorter path`,
        );
      mkdirSync(directory, { mode: 0o700 });
      try {
        const record = describe({ id, name: name ?? `vm-${id}`, directory }, others);
        writeRecord(directory, record);
        return { directory, record };
      } catch (error) {
        rmSync(directory, { recursive: true, force: true });
        throw error;
      }
    });
  }

  #folders(): string[] {
    return readdirSync(this.directory).filter((name) => !name.startsWith('.'));
  }

  #live(): FoundVm[] {
    const found: FoundVm[] = [];
    for (const name of this.#folders()) {
      const directory = join(this.directory, name);
      const record = readRecord(directory);
      if (record !== undefined && isAlive(record.supervisor)) found.push({ directory, record });
    }
    return found;
  }

  /** Under the lock: a folder without a record is then one that was left half made. */
  #sweep(): void {
    for (const name of this.#folders()) {
      const directory = join(this.directory, name);
      const record = readRecord(directory);
      if (record !== undefined && isAlive(record.supervisor)) continue;
      if (record?.hypervisor !== undefined) endOrphan(record.hypervisor);
      rmSync(directory, { recursive: true, force: true });
    }
  }

  #locked<T>(work: () => T): T {
    const fd = openSync(join(this.directory, '.lock'), 'w', 0o600);
    try {
      lockAndWait(fd);
      return work();
    } finally {
      closeSync(fd);
    }
  }
}

/** A hypervisor whose supervisor is gone, and that the kernel did not end with it. */
function endOrphan(hypervisor: { readonly pid: number; readonly started: string }): void {
  while (isAlive(hypervisor)) {
    try {
      process.kill(hypervisor.pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
    // Its locks on disks are free when it is gone.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, orphanWaitMs);
  }
}
