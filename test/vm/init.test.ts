import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Transcript } from '../semantics/lines.js';
import { bootGuest } from './guest.js';
import { skipWithoutQemu, testImage } from './image.js';

const options = { skip: skipWithoutQemu, timeout: 600_000 };
const folder = mkdtempSync(join(tmpdir(), 'hawser-init-test-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

t.test('beside another init: busybox is the first process and starts the agent', options, async (t) => {
  await using guest = await bootGuest({
    image: testImage(),
    ports: ['agent'],
    append: ['quiet', 'rdinit=/sbin/init'],
  });
  const agent = await guest.connect('agent');
  const { pid } = await agent.info();
  t.not(pid, 1);
  t.match((await agent.exec('cat', ['/proc/1/comm'])).stdout, /^(init|busybox)\n$/);
  t.match((await agent.exec('sh', ['-c', 'echo $PPID'])).stdout, `${pid}\n`);
  t.match(await agent.exec('sh', ['-c', 'tty <&1'], { tty: true }), { code: 0, stdout: /^\/dev\/pts\/\d/ });

  await t.test('it does none of what an init does', async (t) => {
    const mounts = (await agent.exec('cat', ['/proc/mounts'])).stdout;
    for (const target of ['/dev/shm', '/run', '/tmp', '/sys/fs/cgroup']) t.notMatch(mounts, ` ${target} `);
    t.equal((await agent.exec('hostname')).stdout, '(none)\n');
    await t.rejects(agent.shutdown(), { code: 'unsupported', message: /first process/ });
    t.equal((await agent.exec('echo', ['still here'])).stdout, 'still here\n');
  });

  await t.test("orphans are the init's", async (t) => {
    const { stdout } = await agent.exec('sh', [
      '-c',
      '(setsid sh -c "sleep 0.3; cat /proc/\\$\\$/stat > /dev/null; echo \\$PPID > /run-ppid" &); sleep 0.1',
    ]);
    t.equal(stdout, '');
    const session = await agent.spawn('sh', [
      '-c',
      'until [ -s /run-ppid ]; do sleep 0.05; done; cat /run-ppid',
    ]);
    t.match(await new Transcript(session.stdout).rest(), /^\d+\n$/);
  });

  await t.test('when the agent ends, the init starts it again', async (t) => {
    const session = await agent.spawn('sleep', ['1000']);
    await agent.exec('kill', ['-KILL', String(pid)]).catch(() => {});
    session.exited.catch(() => {});
    const again = await guest.connect('agent');
    t.not((await again.info()).pid, pid);
    await again.exec('poweroff').catch(() => {});
    t.strictSame(await guest.exited, [0, null]);
  });
});

t.test('root disks: ext4 written and read again, erofs', options, async (t) => {
  const image = testImage();
  const disk = join(folder, 'root.ext4');
  const data = join(folder, 'data.img');
  copyFileSync(join(image, 'root.ext4'), disk);
  execFileSync('truncate', ['-s', '16M', data]);
  execFileSync('mke2fs', ['-q', '-t', 'ext4', data]);
  const content = 'x'.repeat(100_000);

  await t.test(
    'an orderly power-off: what was written survives, on the root disk and on another',
    async (t) => {
      await using guest = await bootGuest({
        image,
        initramfs: join(image, 'initramfs-ext4.cpio'),
        memoryMiB: 256,
        disks: [disk, data],
        ports: ['agent'],
        append: ['quiet', 'rw', 'hawser.hostname=harbour', 'hawser.mounts=/dev/vdb:/mnt:ext4:noatime'],
      });
      const agent = await guest.connect('agent');
      t.match(await agent.info(), { pid: 1, system: { hostname: 'harbour' } });
      for (const path of ['/root/kept', '/mnt/kept'])
        t.match(await agent.exec('sh', ['-c', `cat > ${path}`], { input: content }), { code: 0, stderr: '' });
      // Held open by a process that ignores TERM: it must go before the disks are let go.
      const holder = await agent.spawn('sh', [
        '-c',
        'trap "" TERM; exec 3>>/mnt/held; echo up; cd /mnt; while :; do sleep 0.1; done',
      ]);
      await new Transcript(holder.stdout).until('up\n');
      await agent.exec('sh', [
        '-c',
        'setsid sh -c "trap \\"\\" TERM; cd /mnt; while :; do sleep 0.1; done" > /dev/null 2>&1 &',
      ]);
      await agent.shutdown({ graceMs: 300 });
      await agent.closed;
      t.strictSame(await guest.exited, [0, null]);
      for (const path of [disk, data]) {
        const state = execFileSync('dumpe2fs', ['-h', path], {
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'ignore'],
        });
        t.match(state, /Filesystem state: +clean/, path);
        t.notMatch(state, /needs_recovery/, 'unmounted or made read-only, not just cut off');
      }
    },
  );

  await t.test('busybox reboot ends it in order, too', async (t) => {
    await using guest = await bootGuest({
      image,
      initramfs: join(image, 'initramfs-ext4.cpio'),
      memoryMiB: 256,
      disks: [disk, data],
      ports: ['agent'],
      append: ['quiet', 'hawser.mounts=/dev/vdb:/mnt:ext4'],
    });
    const agent = await guest.connect('agent');
    for (const path of ['/root/kept', '/mnt/kept'])
      t.equal((await agent.exec('cat', [path])).stdout, content, `${path} is there again`);
    t.match((await agent.exec('touch', ['/root/x'])).stderr, /Read-only/, 'without rw the root is read-only');
    const session = await agent.spawn('sleep', ['1000']);
    agent.exec('reboot').catch(() => {});
    t.match(await session.exited, { signal: 'SIGTERM', killedBy: 'shutdown' });
    t.strictSame(await guest.exited, [0, null], 'QEMU was told not to reboot');
  });

  await t.test('erofs', async (t) => {
    await using guest = await bootGuest({
      image,
      initramfs: join(image, 'initramfs-erofs.cpio'),
      memoryMiB: 256,
      disks: [join(image, 'root.erofs')],
      ports: ['agent'],
      append: ['quiet'],
    });
    const agent = await guest.connect('agent');
    t.match((await agent.exec('cat', ['/proc/mounts'])).stdout, /^\/dev\/vda \/ erofs ro/m);
    await agent.shutdown();
    t.strictSame(await guest.exited, [0, null]);
  });
});

t.test('a configuration that is wrong is told on the console, and ends the machine', options, async (t) => {
  await using guest = await bootGuest({ image: testImage(), append: ['quiet', 'hawser.colour=red'] });
  t.strictSame(await guest.exited, [0, null]);
  t.match(guest.console(), /hawser\.colour=red: there is no such setting/);
});
