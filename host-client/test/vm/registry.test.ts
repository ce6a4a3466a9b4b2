import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { identify, isAlive } from '../../src/vm/registry/process-identity.js';
import { vmsDirectory } from '../../src/vm/registry/runtime-directory.js';
import { processUse } from '../../src/vm/registry/vm-metrics.js';
import type { FoundVm } from '../../src/vm/registry/vm-registry.js';
import { VmRegistry } from '../../src/vm/registry/vm-registry.js';

const holdSlot = fileURLToPath(new URL('./fixtures/hold-slot.ts', import.meta.url));
const nodeArguments = ['--import', './tooling/typescript.mjs', '--conditions=@hawser/source'];

const base = mkdtempSync(join(tmpdir(), 'hawser-reg-'));
const directory = vmsDirectory({ XDG_RUNTIME_DIR: base });
const registry = new VmRegistry(directory);
const disk = join(base, 'disk.raw');
writeFileSync(disk, Buffer.alloc(4096));
const holders: ChildProcess[] = [];
const left: number[] = [];

interface Answer {
  readonly held?: true;
  readonly code?: string;
  readonly message?: string;
  readonly holder?: { name: string; pid: number };
}

/** @returns what the other process says of its attempt */
async function hold(name: string, ...disks: string[]): Promise<{ child: ChildProcess; answer: Answer }> {
  const child = spawn(process.execPath, [...nodeArguments, holdSlot, directory, name, ...disks], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  holders.push(child);
  const [line] = (await once(child.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
  const found = registry.list().find(({ record }) => record.name === name);
  if (found?.record.hypervisor !== undefined) left.push(found.record.hypervisor.pid);
  return { child, answer: JSON.parse(line.toString()) as Answer };
}

async function crash(child: ChildProcess): Promise<void> {
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

function hypervisorOf(found: FoundVm | undefined): { pid: number; started: string } {
  if (found?.record.hypervisor === undefined) throw new Error('no hypervisor in the record');
  return found.record.hypervisor;
}

t.afterEach(async () => {
  for (const child of holders.splice(0))
    if (child.exitCode === null && child.signalCode === null) await crash(child);
  t.same(registry.list(), []);
  for (const pid of left.splice(0)) t.equal(identify(pid), undefined, 'the orphan was ended');
});
t.teardown(() => rmSync(base, { recursive: true }));

t.test(
  "a writable image is one VM's alone, across processes, and the refusal names the holder",
  async (t) => {
    const first = await hold('first', disk);
    t.same(first.answer, { held: true });
    const [found] = registry.list();
    t.equal(found?.record.name, 'first');
    for (const again of [disk, `${disk}:ro`]) {
      const { answer } = await hold('second', again);
      t.equal(answer.code, 'disk_in_use');
      t.same(answer.holder, { name: 'first', pid: hypervisorOf(found).pid });
      t.match(answer.message, /disk\.raw.*is in use: the VM first \(pid \d+\) writes it/);
    }
    const link = join(base, 'another name');
    symlinkSync(disk, link);
    t.equal((await hold('second', link)).answer.code, 'disk_in_use', 'by whatever name');
    t.equal(registry.list().length, 1, 'a refused one leaves no slot behind');
  },
);

t.test('an image that is only read is shared, and cannot be written meanwhile', async (t) => {
  t.same((await hold('first', `${disk}:ro`)).answer, { held: true });
  t.same((await hold('second', `${disk}:ro`)).answer, { held: true });
  const { answer } = await hold('third', disk);
  t.equal(answer.code, 'disk_in_use');
  t.match(answer.message, /wanted to write.*reads it/);
  t.match((await hold('third', `${disk}:ro`, disk)).answer.message, /in its list twice|reads it/);
});

t.test('a crash frees slot, name and lock: the next who looks ends the orphan', async (t) => {
  const first = await hold('name', disk);
  const [found] = registry.list();
  await crash(first.child);
  t.ok(isAlive(hypervisorOf(found)), 'the hypervisor is still there, with its copy of the lock');
  t.ok(existsSync(found?.directory ?? ''));
  t.same((await hold('name', disk)).answer, { held: true });
  t.notOk(existsSync(found?.directory ?? ''));
  t.notOk(isAlive(hypervisorOf(found)));
});

t.test("names are one VM's, and more than the most are refused", async (t) => {
  await hold('a');
  t.match((await hold('a')).answer, { code: 'vm_name_in_use', message: /named a is there/ });
  await hold('b');
  await hold('c');
  t.match((await hold('d')).answer, { code: 'too_many_vms', message: /3 VMs are there, and vmsMax is 3/ });
  t.throws(() => registry.find('nobody'), { code: 'unknown_vm' });
  t.equal(registry.find('b').record.name, 'b');
  t.equal(registry.find(registry.find('b').record.id).record.name, 'b', 'by its id, too');
});

t.test('a folder that was left half made is removed', (t) => {
  mkdirSync(join(directory, 'deadbeef'));
  t.same(registry.list(), []);
  t.same(
    readdirSync(directory).filter((name) => !name.startsWith('.')),
    [],
  );
  t.end();
});

t.test('a pid that was given out anew is not taken for the one of before', (t) => {
  const own = identify(process.pid);
  t.ok(own !== undefined && isAlive(own));
  t.notOk(isAlive({ pid: process.pid, started: `1 ${own?.started.split(' ')[1]}` }));
  t.equal(identify(2 ** 30), undefined);
  const use = own && processUse(own);
  t.ok(use !== undefined && use.memoryBytes > 1024 * 1024 && use.cpuTimeMs > 0);
  t.end();
});

t.test("the folder is this user's alone, and one that others could have made is refused", (t) => {
  t.equal(statSync(directory).mode & 0o777, 0o700);
  const open = mkdtempSync(join(tmpdir(), 'hawser-reg-'));
  t.teardown(() => rmSync(open, { recursive: true }));
  mkdirSync(join(open, 'hawser'), { mode: 0o777 });
  chmodSync(join(open, 'hawser'), 0o777); // whatever the umask
  t.throws(() => vmsDirectory({ XDG_RUNTIME_DIR: open }), {
    code: 'invalid_config',
    message: /may be written by others/,
  });
  rmSync(join(open, 'hawser'), { recursive: true });
  symlinkSync('/', join(open, 'hawser'));
  t.throws(() => vmsDirectory({ XDG_RUNTIME_DIR: open }), {
    code: 'invalid_config',
    message: /is no directory/,
  });
  const deep = join(open, 'x'.repeat(90));
  mkdirSync(deep);
  const long = new VmRegistry(vmsDirectory({ XDG_RUNTIME_DIR: deep }));
  t.throws(() => long.reserve({ name: undefined, vmsMax: 1 }, () => t.fail() as never), {
    code: 'invalid_config',
    message: /exceed the 107/,
  });
  t.end();
});
