import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t from 'tap';
import type { JobKernel } from '../../src/ffi/job-object.js';
import { WindowsProcessTree } from '../../src/vm/process-tree/windows-process-tree.js';

const ownProcess = -1n;
const invalidParameter = 87;
const accessDenied = 5;

/** Stands for kernel32: handles are counted, jobs have members, and any call may be told to fail. */
class FakeKernel implements JobKernel {
  readonly open = new Map<bigint, 'job' | 'process'>();
  readonly members = new Map<bigint, Set<bigint>>();
  readonly killOnClose = new Set<bigint>();
  /** Jobs whose last handle was closed while there were members: the kernel kills those. */
  readonly killedByClose: bigint[] = [];
  readonly terminated: bigint[] = [];
  failing: keyof JobKernel | undefined;
  /** Extra members, which no list of 256 would hold. */
  crowd = 0;
  #error = 0;
  #next = 0x100n;

  lastError = (): number => this.#error;

  createJobObject = (): bigint => {
    if (this.#fails('createJobObject', accessDenied)) return 0n;
    const job = this.#handle('job');
    this.members.set(job, new Set());
    return job;
  };

  setInformation = (job: bigint, kind: number, information: Uint8Array): number => {
    if (this.#fails('setInformation', invalidParameter)) return 0;
    const flags = new DataView(information.buffer).getUint32(16, true);
    if (kind === 9 && information.length === 144 && (flags & 0x2000) !== 0) this.killOnClose.add(job);
    return 1;
  };

  queryInformation = (job: bigint, kind: number, information: Uint8Array): number => {
    if (kind !== 1 || information.length !== 48)
      throw new Error('only the accounting is asked for, never a list');
    const members =
      (this.members.get(job) as Set<bigint>).size + (this.terminated.includes(job) ? 0 : this.crowd);
    new DataView(information.buffer).setUint32(40, members, true);
    return 1;
  };

  currentProcess = (): bigint => ownProcess;

  openProcess = (access: number, _inherit: number, pid: number): bigint => {
    if (access !== 0x101) throw new Error(`access ${access} is not what AssignProcessToJobObject needs`);
    if (pid <= 0 || this.#fails('openProcess', invalidParameter)) return 0n;
    return this.#handle('process');
  };

  assignProcess = (job: bigint, child: bigint): number => {
    if (child !== ownProcess && this.#fails('assignProcess', accessDenied)) return 0;
    this.members.get(job)?.add(child);
    return 1;
  };

  terminateJob = (job: bigint): number => {
    if (this.#fails('terminateJob', accessDenied)) return 0;
    this.terminated.push(job);
    this.members.get(job)?.clear();
    return 1;
  };

  closeHandle = (handle: bigint): number => {
    if (!this.open.delete(handle)) throw new Error(`handle ${handle} is not open`);
    if ((this.members.get(handle)?.size ?? 0) > 0) this.killedByClose.push(handle);
    return 1;
  };

  count(kind: 'job' | 'process'): number {
    return [...this.open.values()].filter((open) => open === kind).length;
  }

  #handle(kind: 'job' | 'process'): bigint {
    this.#next += 4n;
    this.open.set(this.#next, kind);
    return this.#next;
  }

  #fails(call: keyof JobKernel, error: number): boolean {
    if (this.failing !== call) return false;
    this.#error = error;
    return true;
  }
}

const options = { cwd: '/', stdio: 'ignore' } as const;
const children: ChildProcess[] = [];

/** Children are real; only what keeps them together is not. */
function aTree(kernel: JobKernel): WindowsProcessTree {
  return new WindowsProcessTree(kernel, (file, args, spawnOptions) => {
    const child = spawn(file, args, spawnOptions);
    children.push(child);
    return child;
  });
}

t.afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

t.test('both jobs kill on close, and this process is in the outer one: its children are born there', (t) => {
  const kernel = new FakeKernel();
  const tree = aTree(kernel);
  const [inner, outer] = [...kernel.members.keys()] as [bigint, bigint];
  t.same([...kernel.killOnClose], [inner, outer]);
  t.same([...(kernel.members.get(outer) ?? [])], [ownProcess]);
  t.equal(kernel.members.get(inner)?.size, 0);
  t.equal(tree.heldProcesses, 1);
  t.end();
});

t.test('a member is put into the inner job, and the handle to it is closed', async (t) => {
  const kernel = new FakeKernel();
  const tree = aTree(kernel);
  const child = await tree.spawn('sleep', ['1000'], options);
  t.ok(child.pid);
  const [inner] = [...kernel.members.keys()] as [bigint];
  t.equal(kernel.members.get(inner)?.size, 1);
  t.equal(kernel.count('process'), 0);
  await tree.kill();
  t.same(kernel.terminated, [inner], 'the outer job, in which this process is, is never terminated');
  tree.close();
  tree.close();
  t.equal(kernel.count('job'), 1, 'the outer one is left to the kernel: closing it would end this process');
  t.same(kernel.killedByClose, []);
});

t.test('a child that cannot be put into the job is killed, and the handle to it closed', async (t) => {
  for (const failing of ['assignProcess', 'openProcess'] as const) {
    const kernel = new FakeKernel();
    const tree = aTree(kernel);
    kernel.failing = failing;
    const error = await tree.spawn('sleep', ['1000'], options).then(
      () => undefined,
      (reason: unknown) => reason as Error & { code: string; errno: string },
    );
    t.match(error, { code: 'system_call_failed', errno: failing === 'assignProcess' ? '5' : '87' });
    const child = children.at(-1) as ChildProcess;
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    t.equal(child.signalCode, 'SIGKILL', failing);
    t.equal(kernel.count('process'), 0);
  }
});

t.test('a program that is not there fails as itself, with nothing left open', async (t) => {
  const kernel = new FakeKernel();
  await t.rejects(aTree(kernel).spawn('no-such-program', [], options), { code: 'ENOENT' });
  t.equal(kernel.count('process'), 0);
});

t.test('where a job cannot be made, nothing stays open', (t) => {
  for (const failing of ['createJobObject', 'setInformation'] as const) {
    const kernel = new FakeKernel();
    kernel.failing = failing;
    t.throws(() => aTree(kernel), { code: 'system_call_failed' }, failing);
    t.equal(kernel.open.size, 0);
  }
  const second = new FakeKernel();
  const create = second.createJobObject;
  second.createJobObject = () => (second.count('job') === 0 ? create() : 0n);
  t.throws(() => aTree(second), { code: 'system_call_failed' }, 'the second one');
  t.equal(second.open.size, 0);
  const self = new FakeKernel();
  self.assignProcess = () => 0;
  t.throws(() => aTree(self), /AssignProcessToJobObject/);
  t.equal(self.open.size, 0, 'and this process was in none of them');
  t.end();
});

t.test('more than 256 members are as few: they are counted, and ended as a whole', async (t) => {
  const kernel = new FakeKernel();
  const tree = aTree(kernel);
  kernel.crowd = 300;
  await tree.spawn('sleep', ['1000'], options);
  t.equal(tree.heldProcesses, 301);
  await tree.kill();
  t.equal(kernel.terminated.length, 1);
});

t.test('a refusal to terminate is reported', async (t) => {
  const kernel = new FakeKernel();
  const tree = aTree(kernel);
  kernel.failing = 'terminateJob';
  await t.rejects(tree.kill(), {
    code: 'system_call_failed',
    message: /TerminateJobObject failed with Windows error 5/,
  });
});
