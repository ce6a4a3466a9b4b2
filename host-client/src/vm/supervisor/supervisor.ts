import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  fstatSync,
  openSync,
  readSync,
  rmSync,
} from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { HawserError } from '@hawser/protocol';
import { ConsoleLog } from '../console-log.js';
import { DiskLocks } from '../disk-locks.js';
import { hostLine, vmFiles } from '../hypervisors/guest-lines.js';
import type { Hypervisor } from '../hypervisors/hypervisor.js';
import { hypervisorOf } from '../hypervisors/hypervisor.js';
import type { ProcessTree } from '../process-tree/process-tree.js';
import { openProcessTree } from '../process-tree/process-tree.js';
import { identify } from '../registry/process-identity.js';
import type { VmRecord } from '../registry/vm-record.js';
import { writeRecord } from '../registry/vm-record.js';
import { VmRegistry } from '../registry/vm-registry.js';
import { restoredDisk, savedDisk, snapshotFile } from '../snapshot-files.js';
import type { KilledBy, VmEnd } from '../vm-end.js';
import { describeEnd } from '../vm-end.js';
import type { VmPlan } from '../vm-plan.js';
import type { ControlRequest, ControlStatus } from './control-protocol.js';
import { ControlServer } from './control-server.js';
import { endOfProcess } from './end-of-process.js';

const stderrTailCharacters = 4096;
const consoleTailBytes = 64 * 1024;

/**
 * One VM: its slot in the registry, its folder, its locks, its hypervisor and its end. It lives in a process of its own,
 * which outlives nobody it should not: the kernel ends the hypervisor with it, and it ends with its owner.
 */
export class Supervisor {
  readonly directory: string;
  /** Resolves when the VM is gone and everything of it was removed. */
  readonly ended: Promise<VmEnd>;
  /** Resolves when everybody who is connected was told of it, too. */
  readonly finished: Promise<void>;
  readonly #plan: VmPlan;
  readonly #locks: DiskLocks;
  readonly #tree: ProcessTree;
  readonly #console: ConsoleLog;
  readonly #hypervisor: Hypervisor;
  readonly #control: ControlServer;
  #record: VmRecord;
  #child: ChildProcess | undefined;
  #stderr = '';
  #killedBy: KilledBy | undefined;
  #settle!: (end: VmEnd) => void;
  #busy = false;

  /** Takes the VM's slot and locks. @throws HawserError `disk_in_use`, `too_many_vms`, `vm_name_in_use` and others */
  constructor(plan: VmPlan) {
    this.ended = new Promise((resolve) => (this.#settle = resolve));
    this.finished = this.ended.then((end) => this.#control.end(end));
    let locks: DiskLocks | undefined;
    const slot = new VmRegistry().reserve(plan, ({ id, name, directory }, others) => {
      const held = plan.disks.filter(({ savedIn }) => savedIn === undefined);
      locks = DiskLocks.acquire(held, others);
      return firstRecord(plan, { id, name, directory }, locks);
    });
    this.#locks = locks as unknown as DiskLocks;
    this.directory = slot.directory;
    this.#record = slot.record;
    this.#plan = {
      ...plan,
      name: slot.record.name,
      disks: plan.disks.map((disk, index) => restoredDisk(disk, index, slot.directory)),
    };
    this.#tree = openProcessTree();
    this.#console = new ConsoleLog(this.directory, plan.consoleBytesMax);
    this.#hypervisor = hypervisorOf(this.#plan, this.directory, slot.record.id);
    this.#control = new ControlServer((request) => this.#handle(request));
  }

  /**
   * Starts the hypervisor and has the guest run. Where that fails, everything is removed again.
   *
   * @throws HawserError `missing_dependency` where the hypervisor is not installed, `vm_launch_failed`
   */
  async start(): Promise<void> {
    try {
      for (const { path, savedIn } of this.#plan.disks) if (savedIn !== undefined) copyImage(savedIn, path);
      await this.#hypervisor.prepare();
      this.#throwIfKilled();
      const exited = this.#watch(await this.#spawn());
      this.#throwIfKilled();
      await this.#hypervisor.boot(exited);
      await this.#control.listen(join(this.directory, vmFiles.control));
    } catch (error) {
      this.#killedBy ??= 'request';
      await this.#tree.kill();
      if (this.#child === undefined) this.#removed({ how: 'killed', by: this.#killedBy });
      await this.ended;
      throw launchError(error);
    }
  }

  get detached(): boolean {
    return this.#record.detached;
  }

  /** Ends the VM at once, and resolves when everything of it is removed. The first who asks is the one who is named. */
  async kill(by: KilledBy): Promise<void> {
    this.#killedBy ??= by;
    await this.#tree.kill(); // a start that is under way notices by itself
    await this.ended;
  }

  #throwIfKilled(): void {
    if (this.#killedBy !== undefined)
      throw new HawserError(
        'vm_launch_failed',
        `the VM did not start: ${describeEnd({ how: 'killed', by: this.#killedBy })}`,
      );
  }

  /** Sees to the hypervisor's end. @returns rejects with how it ended */
  #watch(child: ChildProcess): Promise<never> {
    const ended = once(child, 'exit').then(([code, signal]) =>
      this.#exited(child, { code: code as number | null, signal: signal as string | null }),
    );
    const exited = ended.then(async () => {
      throw new HawserError('vm_launch_failed', `the VM did not start: ${describeEnd(await this.ended)}`);
    });
    exited.catch(() => undefined); // when nobody races with it any more
    return exited;
  }

  async #spawn(): Promise<ChildProcess> {
    const { program } = this.#plan;
    const child = await this.#tree
      .spawn(program, this.#hypervisor.args, {
        cwd: this.directory,
        // The locks' descriptors go along, so that they last as long as the hypervisor.
        stdio: ['ignore', 'pipe', 'pipe', ...this.#locks.descriptors],
      })
      .catch((cause: unknown) => {
        const { code, message } = cause as NodeJS.ErrnoException;
        throw new HawserError(
          'missing_dependency',
          `the hypervisor ${program} cannot be started: ${message}`,
          { errno: code, cause },
        );
      });
    this.#child = child;
    child.stdout?.on('data', (chunk: Buffer) => this.#console.write(chunk));
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      this.#stderr = (this.#stderr + chunk).slice(-stderrTailCharacters);
    });
    const identity = identify(child.pid as number);
    if (identity !== undefined) this.#update({ state: 'booting', hypervisor: identity });
    return child;
  }

  async #exited(
    child: ChildProcess,
    { code, signal }: { code: number | null; signal: string | null },
  ): Promise<void> {
    // What it printed last is still in its pipes.
    await Promise.all([closed(child.stdout), closed(child.stderr)]);
    await this.#tree.kill();
    const end = endOfProcess({
      code,
      signal,
      stderr: this.#stderr,
      guestEnd: this.#hypervisor.guestEnd,
      killedBy: this.#killedBy,
      console: tailOf(join(this.directory, vmFiles.console)),
    });
    this.#removed(end);
  }

  /** Everything of the VM goes; then it has ended. */
  #removed(end: VmEnd): void {
    this.#hypervisor.close();
    this.#tree.close();
    this.#console.close();
    this.#locks.close();
    rmSync(this.directory, { recursive: true, force: true });
    this.#settle(end);
  }

  async #handle(request: ControlRequest): Promise<ControlStatus | null> {
    switch (request.op) {
      case 'status':
        return { agentPort: this.#hypervisor.agentPort };
      case 'activate':
        this.#update({ state: 'running' });
        return null;
      case 'detach':
        this.#update({ detached: true });
        return null;
      case 'kill':
        // Not awaited: the answer to it is the end.
        void this.kill(request.by);
        return null;
      case 'snapshot':
        await this.#snapshot(request.directory);
        return null;
    }
  }

  /** Saves memory, devices and the disks that are written, all of one moment. */
  async #snapshot(directory: string): Promise<void> {
    if (this.#busy) throw new HawserError('invalid_argument', 'another snapshot of this VM is being written');
    const written = this.#plan.disks.flatMap((disk, index) => (disk.readOnly ? [] : [{ disk, index }]));
    if (this.#plan.hypervisor !== 'qemu' && written.length > 0)
      throw new HawserError(
        'unsupported',
        `a snapshot of ${this.#plan.hypervisor} names its disks by path: one with a disk that is written cannot be restored elsewhere`,
      );
    this.#busy = true;
    try {
      await mkdir(directory, { mode: 0o700 });
      await this.#hypervisor.pause();
      try {
        await this.#hypervisor.save(directory);
        for (const { disk, index } of written) copyImage(disk.path, savedDisk(directory, index));
      } finally {
        await this.#hypervisor.resume();
      }
      await writeFile(join(directory, snapshotFile), `${JSON.stringify(this.#plan, null, 2)}\n`, {
        mode: 0o600,
      });
    } catch (error) {
      if (error instanceof HawserError) throw error;
      const { code, message } = error as NodeJS.ErrnoException;
      throw new HawserError(
        'hypervisor_error',
        `the snapshot ${directory} could not be written: ${message}`,
        { errno: code, cause: error },
      );
    } finally {
      this.#busy = false;
    }
  }

  #update(change: Partial<VmRecord>): void {
    this.#record = { ...this.#record, ...change };
    writeRecord(this.directory, this.#record);
  }
}

function firstRecord(
  plan: VmPlan,
  slot: { readonly id: string; readonly name: string; readonly directory: string },
  locks: DiskLocks,
): VmRecord {
  const supervisor = identify(process.pid);
  if (supervisor === undefined) throw new HawserError('internal', 'this process is not in /proc');
  return {
    format: 1,
    id: slot.id,
    name: slot.name,
    state: 'reserved',
    supervisor,
    hypervisorName: plan.hypervisor,
    detached: false,
    memoryMiB: plan.memoryMiB,
    cpus: plan.cpus,
    line: hostLine(plan.lines[0], plan, slot.directory),
    disks: locks.holds,
    createdAtMs: Date.now(),
  };
}

async function closed(pipe: Readable | null): Promise<void> {
  if (pipe !== null && !pipe.closed) await once(pipe, 'close');
}

/** Shares the blocks where the file system can. */
function copyImage(from: string, to: string): void {
  copyFileSync(from, to, constants.COPYFILE_FICLONE);
  chmodSync(to, 0o600);
}

function tailOf(path: string): string {
  const fd = openSync(path, 'r');
  try {
    const tail = Buffer.alloc(consoleTailBytes);
    const bytes = readSync(fd, tail, 0, tail.length, Math.max(0, fstatSync(fd).size - tail.length));
    return tail.toString('utf8', 0, bytes);
  } finally {
    closeSync(fd);
  }
}

function launchError(error: unknown): HawserError {
  if (error instanceof HawserError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  return new HawserError('vm_launch_failed', `the VM did not start: ${message}`, {
    errno: code,
    cause: error,
  });
}
