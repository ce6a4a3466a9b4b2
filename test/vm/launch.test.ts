import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { LaunchVmOptions, Vm } from '@hawser/host-client';
import { launchVm, listVms, openVm, restoreVm } from '@hawser/host-client';
import t from 'tap';
import { skipWithoutQemu, testImage } from './image.js';

// Short, for the sockets' paths, and nobody else's VMs are in it.
const folder = mkdtempSync(join(tmpdir(), 'hw-'));
process.env['XDG_RUNTIME_DIR'] = folder;
t.teardown(() => rmSync(folder, { recursive: true }));

const bootTimeoutMs = 120_000;

function launch(options: LaunchVmOptions = {}): Promise<Vm> {
  return launchVm({ image: testImage(), accelerator: 'tcg', bootTimeoutMs, ...options });
}

/** A process that is no child of ours says nothing when it goes. */
async function gone(pid: number): Promise<true> {
  for (;;) {
    try {
      if (/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) return true;
    } catch {
      return true;
    }
    await delay(20);
  }
}

/** What the registry's folder holds. */
function slots(): string[] {
  const vms = join(folder, 'hawser/vms');
  return (existsSync(vms) ? readdirSync(vms) : []).filter((name) => !name.startsWith('.'));
}

async function out(vm: Vm, script: string): Promise<string> {
  const { code, stdout, stderr } = await vm.agent.exec('sh', ['-c', script]);
  if (code !== 0) throw new Error(`${script}: ${code} ${stderr}`);
  return stdout;
}

t.test(
  'a VM from its boot to its end in order, and one that goes on from its snapshot',
  { skip: skipWithoutQemu },
  async (t) => {
    const disk = join(folder, 'disk.raw');
    writeFileSync(disk, Buffer.alloc(1024 * 1024));
    const steps: string[] = [];
    const vm = await launch({
      name: 'näme',
      disks: [{ path: disk }],
      onProgress: (step) => steps.push(step),
    });
    t.teardown(() => vm.close());
    t.same(steps, ['supervisor', 'hypervisor', 'agent']);
    t.match(await out(vm, 'cat /proc/cmdline'), /hawser\.listen=virtio:agent/);
    t.match(readFileSync(`/proc/${vm.pid}/cmdline`, 'utf8'), /qemu-system-/, 'vm.pid is the hypervisor');
    t.equal(statSync(vm.directory).mode & 0o777, 0o700);
    t.equal(vm.tryWait(), undefined);

    await t.test('it is listed with what it uses', async (t) => {
      const [info, ...others] = await listVms();
      t.same(others, []);
      t.match(info, {
        name: 'näme',
        pid: vm.pid,
        state: 'running',
        detached: false,
        line: vm.line,
        memoryMiB: 512,
      });
      t.equal(info?.agentReachable, true);
      t.ok(
        (info?.memoryBytes ?? 0) > 100 * 1024 * 1024 &&
          (info?.cpuTimeMs ?? 0) > 500 &&
          (info?.uptimeMs ?? 0) > 500,
      );
    });

    await t.test('its name, its disk and its slot are taken', async (t) => {
      await t.rejects(launch({ name: 'näme' }), { code: 'vm_name_in_use' });
      for (const readOnly of [true, false])
        await t.rejects(launch({ disks: [{ path: disk, readOnly }] }), {
          code: 'disk_in_use',
          holder: { name: 'näme', pid: vm.pid },
        });
      await t.rejects(launch({ vmsMax: 1 }), { code: 'too_many_vms' });
      t.equal(slots().length, 1);
    });

    await t.test('a snapshot goes on with memory and disk as they were', async (t) => {
      await out(vm, 'echo remembered > /tmp/x; echo saved > /dev/vda; sync');
      const script = 'echo started; read line; echo "got $line"';
      const left = await vm.agent.spawn('sh', ['-c', script], { detached: true });
      await once(left.stdout, 'data');
      const timeIn = async (one: Vm): Promise<number> => Number(await out(one, 'date +%s'));
      // A snapshot that lies there for years: the guest's clock stands still meanwhile.
      await out(vm, 'date -s @1577836800');
      const snapshot = join(folder, 'snapshot');
      await vm.snapshot(snapshot);
      await out(vm, 'echo later > /tmp/x; echo later > /dev/vda; sync');
      await t.rejects(vm.snapshot(snapshot), { code: 'hypervisor_error', message: /EEXIST/ });
      const copy = await restoreVm(snapshot, { name: 'copy', bootTimeoutMs });
      t.teardown(() => copy.close());
      t.equal(await out(copy, 'cat /tmp/x; head -c 6 /dev/vda'), 'remembered\nsaved\n');
      t.equal(await out(vm, 'cat /tmp/x; head -c 6 /dev/vda'), 'later\nlater\n');
      t.ok(Math.abs((await timeIn(copy)) - Date.now() / 1000) < 600, 'it knows what time it is');
      t.ok(copy.agent.welcome.bootEpoch >= 1, 'and that time has jumped');
      await copy.agent.addEntropy();
      const goesOn = await copy.agent.attach(left.id, { from: 'start', stdin: true });
      goesOn.stdin?.end('to the copy\n');
      goesOn.stderr?.resume();
      t.equal((await goesOn.stdout.toArray()).join(''), 'started\ngot to the copy\n', 'its sessions go on');
      left.stdin?.end('to the first\n');
      t.match(await left.exited, { code: 0, stdout: { bytes: 25 } });
      t.equal(
        readFileSync(disk, 'latin1').slice(0, 6),
        'later\n',
        'the disk of the first is the first one’s',
      );

      // That one is of no further use: its kernel may panic.
      const crashed = copy.agent.exec('sh', ['-c', 'echo c > /proc/sysrq-trigger']);
      await t.rejects(crashed, { code: 'vm_ended', message: /panicked: sysrq triggered crash/ });
      t.same(await copy.wait(), { how: 'panic', message: 'sysrq triggered crash' });
      t.match(
        await copy.console.text(),
        /Kernel panic - not syncing: sysrq triggered crash/,
        'the console is still there',
      );
      t.notOk(existsSync(copy.directory));
      await t.rejects(copy.snapshot(join(folder, 'none')), { code: 'vm_ended', message: /kernel panicked/ });
    });

    await t.test('it shuts down in order, and nothing of it is left', async (t) => {
      t.same(await vm.drain({ deadlineMs: 60_000 }), { how: 'poweroff' });
      t.same(vm.tryWait(), { how: 'poweroff' });
      t.same(await vm.kill(), { how: 'poweroff' }, 'what is over is over');
      t.ok(await gone(vm.pid));
      t.notOk(existsSync(vm.directory));
      t.same(slots(), []);
      t.same(await listVms(), []);
      await t.rejects(openVm('näme'), { code: 'unknown_vm' });
    });
  },
);

t.test(
  'what is read is shared; a killed hypervisor and a killed supervisor are told apart',
  { skip: skipWithoutQemu },
  async (t) => {
    const disk = join(folder, 'shared.raw');
    writeFileSync(disk, 'the same for all'.padEnd(4096));
    const options = { disks: [{ path: disk, readOnly: true }] };
    const [first, second] = await Promise.all([launch(options), launch(options)]);
    t.teardown(() => Promise.all([first.close(), second.close()]));
    for (const vm of [first, second]) t.equal(await out(vm, 'head -c 16 /dev/vda'), 'the same for all');
    t.notOk(
      (await first.agent.exec('sh', ['-c', 'echo x > /dev/vda'])).code === 0,
      'the guest cannot write it',
    );
    await t.rejects(launch({ disks: [{ path: disk }] }), { code: 'disk_in_use' }, 'nor may anybody now');
    t.equal((await listVms()).length, 2);

    process.kill(first.pid, 'SIGKILL');
    t.same(await first.wait(), { how: 'hypervisor_killed', signal: 'SIGKILL' });
    t.notOk(existsSync(first.directory));

    const record = JSON.parse(readFileSync(join(second.directory, 'vm.json'), 'utf8')) as {
      supervisor: { pid: number };
    };
    process.kill(record.supervisor.pid, 'SIGKILL');
    t.same(await second.wait(), { how: 'supervisor_lost' });
    t.ok(await gone(second.pid), 'the hypervisor went with it');
    t.ok(existsSync(second.directory), 'nobody was there to remove it');
    t.same(await listVms(), []);
    t.same(slots(), [], 'whoever looks next does');
  },
);

t.test(
  'a launch that comes to nothing says why, and leaves nothing',
  { skip: skipWithoutQemu },
  async (t) => {
    await t.rejects(launch({ program: 'no-such-hypervisor' }), {
      code: 'missing_dependency',
      errno: 'ENOENT',
    });
    await t.rejects(launch({ hypervisorArgs: ['-no-such-option'] }), {
      code: 'vm_launch_failed',
      message: /exited with code 1: .*no-such-option/s,
    });
    await t.rejects(launch({ disks: [{ path: '/no/such/disk' }] }), {
      code: 'invalid_argument',
      errno: 'ENOENT',
    });
    await t.rejects(launch({ kernelArgs: ['rdinit=/no/such/init', 'init=/no/such/init'] }), {
      code: 'vm_launch_failed',
      message: /kernel panicked: .*its console ends with:.*Kernel panic/s,
    });
    const abort = new AbortController();
    await t.rejects(
      launch({
        signal: abort.signal,
        onProgress: (step) => step === 'hypervisor' && abort.abort(new Error('enough')),
      }),
      { code: 'aborted' },
    );
    t.same(slots(), []);
  },
);
