/**
 * Firecracker and Cloud Hypervisor, which need KVM and were not run for these tests: what stands for them is a program
 * that takes their command line, writes down the calls of their API, and has a real agent behind the vsock's socket.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LaunchVmOptions, Vm } from '@hawser/host-client';
import { launchVm, listVms, restoreVm } from '@hawser/host-client';
import t from 'tap';

const program = fileURLToPath(new URL('./fixtures/fake-vmm.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'hw-'));
process.env['XDG_RUNTIME_DIR'] = folder;
process.env['FAKE_VMM_NOTES'] = folder;
process.env['HAWSER_AGENTD'] = fileURLToPath(new URL('../../agentd/dist/hawser-agentd.cjs', import.meta.url));
t.teardown(() => rmSync(folder, { recursive: true }));
t.beforeEach(() => {
  process.env['FAKE_VMM_REFUSES'] = '';
  rmSync(join(folder, 'calls.jsonl'), { force: true });
});

interface Note {
  readonly args?: string[];
  readonly method?: string;
  readonly path?: string;
  readonly body?: Record<string, unknown>;
}

function notes(): Note[] {
  const lines = readFileSync(join(folder, 'calls.jsonl'), 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line) as Note);
}

function calls(): string[] {
  return notes().flatMap(({ method, path }) => (method === undefined ? [] : [`${method} ${path}`]));
}

function launch(hypervisor: 'firecracker' | 'cloud-hypervisor', options: LaunchVmOptions = {}): Promise<Vm> {
  return launchVm({ hypervisor, program, kernel: '/images/vmlinuz', initramfs: null, ...options });
}

function slots(): string[] {
  return readdirSync(join(folder, 'hawser/vms')).filter((name) => !name.startsWith('.'));
}

t.test('Firecracker is put together over its API, reached through its vsock, and saved', async (t) => {
  const vm = await launch('firecracker', { memoryMiB: 256 });
  t.teardown(() => vm.close());
  t.same(calls(), ['PUT /machine-config', 'PUT /boot-source', 'PUT /vsock', 'PUT /actions']);
  t.same(notes()[0]?.args, ['--api-sock', 'api.sock', '--id', vm.id]);
  t.equal((await vm.agent.exec('echo', ['hello'])).stdout, 'hello\n');
  t.match(await vm.console.text(), /Linux version/);
  t.match(await listVms(), [{ hypervisor: 'firecracker', state: 'running', agentReachable: true }]);

  const snapshot = join(folder, 'fc-snapshot');
  await vm.snapshot(snapshot);
  t.same(calls().slice(4), ['PATCH /vm', 'PUT /snapshot/create', 'PATCH /vm']);
  t.match(notes().at(-2)?.body, { snapshot_path: `${snapshot}/state`, mem_file_path: `${snapshot}/memory` });
  t.same(notes().at(-1)?.body, { state: 'Resumed' });
  process.kill(vm.pid, 'SIGTERM');
  t.same(await vm.wait(), { how: 'poweroff' }, 'as the console says, since Firecracker does not');

  rmSync(join(folder, 'calls.jsonl'));
  const copy = await restoreVm(snapshot);
  t.teardown(() => copy.close());
  t.same(calls(), ['PUT /snapshot/load']);
  t.equal((await copy.agent.exec('echo', ['again'])).stdout, 'again\n');
  t.same(await copy.kill(), { how: 'killed', by: 'request' });
  t.same(slots(), []);
});

t.test(
  'Cloud Hypervisor gets all on its command line, is reached through its vsock, and saved',
  async (t) => {
    const vm = await launch('cloud-hypervisor', { cpus: 2 });
    t.teardown(() => vm.close());
    t.same(calls(), ['GET /api/v1/vmm.ping']);
    t.same(notes()[0]?.args?.slice(0, 4), ['--api-socket', 'path=api.sock', '--kernel', '/images/vmlinuz']);
    t.ok(notes()[0]?.args?.includes('boot=2'));
    t.equal((await vm.agent.exec('echo', ['hello'])).stdout, 'hello\n');

    const snapshot = join(folder, 'ch-snapshot');
    await vm.snapshot(snapshot);
    t.same(calls().slice(1), ['PUT /api/v1/vm.pause', 'PUT /api/v1/vm.snapshot', 'PUT /api/v1/vm.resume']);
    t.same(notes().at(-2)?.body, { destination_url: `file://${snapshot}` });
    process.kill(vm.pid, 'SIGKILL');
    t.same(await vm.wait(), { how: 'hypervisor_killed', signal: 'SIGKILL' });

    rmSync(join(folder, 'calls.jsonl'));
    const copy = await restoreVm(snapshot);
    t.teardown(() => copy.close());
    t.same(notes()[0]?.args, ['--api-socket', 'path=api.sock', '--restore', `source_url=file://${snapshot}`]);
    t.same(calls(), ['PUT /api/v1/vm.resume']);
  },
);

t.test('a call that is refused ends the launch, with the hypervisor’s words and nothing left', async (t) => {
  process.env['FAKE_VMM_REFUSES'] = '/boot-source';
  await t.rejects(launch('firecracker'), {
    code: 'hypervisor_error',
    message: /PUT \/boot-source was answered with 400: .*the fake refuses/,
  });
  t.same(slots(), []);
  t.same(await listVms(), []);
});

t.test('a snapshot that fails leaves the VM running; one with a written disk is refused', async (t) => {
  process.env['FAKE_VMM_REFUSES'] = '/snapshot/create';
  const disk = join(t.testdir({ 'disk.raw': 'x' }), 'disk.raw');
  const vm = await launch('firecracker');
  t.teardown(() => vm.close());
  await t.rejects(vm.snapshot(join(folder, 'refused')), { code: 'hypervisor_error' });
  t.same(notes().at(-1)?.body, { state: 'Resumed' }, 'it was told to go on');
  t.equal((await vm.agent.exec('echo', ['alive'])).stdout, 'alive\n');
  t.notOk(existsSync(join(folder, 'refused/snapshot.json')), 'what is there is no snapshot');
  await t.rejects(restoreVm(join(folder, 'refused')), {
    code: 'invalid_argument',
    message: /is no snapshot/,
  });
  const other = await launch('firecracker', { disks: [{ path: disk }] });
  t.teardown(() => other.close());
  await t.rejects(other.snapshot(join(folder, 'none')), { code: 'unsupported' });
  t.notOk(existsSync(join(folder, 'none')));
});
