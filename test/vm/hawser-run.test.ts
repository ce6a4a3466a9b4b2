import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { VmInfo } from '@hawser/host-client';
import t from 'tap';
import type { Finished } from '../cli-world.js';
import { World } from '../cli-world.js';
import { skipWithoutQemu, testImage } from './image.js';

const world = new World();
const runtime = mkdtempSync(join(tmpdir(), 'hw-'));
t.teardown(async () => {
  await world.close();
  rmSync(runtime, { recursive: true });
});

function env(): NodeJS.ProcessEnv {
  return { XDG_RUNTIME_DIR: runtime, HAWSER_IMAGE: testImage(), HAWSER_QEMU_ACCEL: 'tcg' };
}

function hawser(...args: string[]): Promise<Finished> {
  return world.run(args, { env: env() });
}

async function vms(): Promise<VmInfo[]> {
  const { code, stdout, stderr } = await hawser('vm', 'ls', '--json');
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout.toString()) as VmInfo[];
}

async function gone(pid: number): Promise<true> {
  while (existsSync(`/proc/${pid}`)) await delay(20);
  return true;
}

function slots(): string[] {
  const all = join(runtime, 'hawser/vms');
  return (existsSync(all) ? readdirSync(all) : []).filter((name) => !name.startsWith('.'));
}

t.test(
  'hawser run boots, runs with streams and exit code as hawser exec, and stops',
  { skip: skipWithoutQemu },
  async (t) => {
    const script = 'echo "$GREETING"; cat; echo oops >&2; exit 7';
    const args = ['run', '--boot-timeout', '120s', '-i', '-e', 'GREETING=moin', '--', 'sh', '-c', script];
    const { code, stdout, stderr } = await world.run(args, { env: env(), input: 'from here\n' });
    t.equal(stdout.toString(), 'moin\nfrom here\n');
    t.equal(stderr, 'oops\n', 'and no progress line where there is no terminal');
    t.equal(code, 7);
    t.same(slots(), []);
  },
);

t.test(
  'a VM that was detached is left, found again, used, and stopped',
  { skip: skipWithoutQemu },
  async (t) => {
    const started = await hawser('run', '--detach', '--name', 'left', '--boot-timeout', '120s');
    t.equal(started.stderr, '');
    t.equal(started.stdout.toString(), 'left\n');
    const [info] = await vms();
    t.match(info, { name: 'left', state: 'running', detached: true, agentReachable: true });

    const table = (await hawser('vm', 'ls')).stdout.toString();
    t.match(table, /^NAME .*AGENT +LINE\nleft +running, detached +\d+ .* reachable +unix:/);
    const ran = await hawser('exec', 'vm:left', '--', 'sh', '-c', 'echo hello > /dev/console; exit 3');
    t.equal(ran.code, 3);
    t.match((await hawser('vm', 'logs', 'left')).stdout.toString(), /hello/);

    const following = world.start(['vm', 'logs', '-f', 'left'], env());
    await following.printed(/hello/);
    const stopped = await hawser('vm', 'stop', '--timeout', '60s', 'left', 'nobody');
    t.equal(stopped.stdout.toString(), 'left\n');
    t.match(stopped.stderr, /there is no VM "nobody"/);
    t.equal(stopped.code, 125);
    const logs = await following.finished;
    t.equal(logs.code, 0, 'following ends with the VM');
    t.match(logs.stdout.toString(), /reboot: Power down/, 'and has its last words');
    t.same(await vms(), []);
    t.same(slots(), []);
    t.ok(await gone(info?.pid ?? 0));
  },
);

t.test(
  'hawser that is killed leaves no VM behind, and one that is interrupted neither',
  { skip: skipWithoutQemu },
  async (t) => {
    const running = world.start(
      ['run', '--boot-timeout', '120s', '--', 'sh', '-c', 'echo up; sleep 1000'],
      env(),
    );
    await once(running.child.stdout as NodeJS.ReadableStream, 'data');
    const [info] = await vms();
    t.equal(info?.detached, false);
    const directory = join(runtime, 'hawser/vms', info?.id ?? '');
    t.match(readFileSync(join(directory, 'vm.json'), 'utf8'), /"running"/);
    running.child.kill('SIGKILL');
    await running.finished;
    t.ok(await gone(info?.pid ?? 0));
    while (existsSync(directory)) await delay(20);
    t.same(await vms(), []);

    const booting = world.start(['run', '--', 'true'], env());
    while (slots().length === 0) await delay(20);
    booting.child.kill('SIGINT');
    const { code } = await booting.finished;
    t.equal(code, 130);
    t.same(slots(), []);

    const killed = world.start(['run', '--detach', '--name', 'k', '--boot-timeout', '120s'], env());
    await killed.finished;
    t.equal((await hawser('vm', 'kill', 'k')).stdout.toString(), 'k\n');
    t.same(slots(), []);
  },
);

t.test('what cannot work is refused with words', async (t) => {
  t.match((await hawser('run')).stderr, /no command: it comes after "--"/);
  t.match((await hawser('run', '--detach', '--', 'true')).stderr, /--detach takes no command/);
  t.match((await hawser('run', '--disk', ':ro', '--', 'true')).stderr, /":ro" names no image/);
  t.match((await hawser('run', 'true')).stderr, /hawser run \[options\] -- COMMAND/);
  const none = await world.run(['run', '--', 'true'], { env: { XDG_RUNTIME_DIR: runtime } });
  t.match(none.stderr, /neither an image nor a kernel/);
  t.equal(none.code, 125);
  t.match((await hawser('exec', 'vm:nobody', '--', 'true')).stderr, /there is no VM "nobody"/);
});
