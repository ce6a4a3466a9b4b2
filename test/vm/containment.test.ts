/** What needs the controllers of cgroup v2, and an agent as the first process of its guest. */
import t from 'tap';
import { Transcript } from '../semantics/lines.js';
import { bootGuest } from './guest.js';
import { skipWithoutQemu, testImage } from './image.js';

const MiB = 1024 * 1024;

/** As many as the issue asks for. */
const runs = 100;

t.test('containment in a guest', { skip: skipWithoutQemu, timeout: 280_000 }, async (t) => {
  await using guest = await bootGuest({
    image: testImage(),
    ports: ['agent'],
    append: ['hawser.listen=virtio:agent', 'hawser.containment=cgroup'],
  });
  // QEMU listens by then: the file of its socket is there before that.
  await guest.awaitConsole(/Linux version/);
  await using agent = await guest.connect('agent');

  await t.test('200 MiB under a memoryMax of 100: killed, said so, and nobody else harmed', async (t) => {
    await using other = await agent.spawn('/opt/test/escape', ['wait', 'x']);
    const { exit } = await agent.exec('/opt/test/hog', ['memory', '200'], {
      cgroup: { memoryMax: 100 * MiB },
    });
    t.match(exit, { signal: 'SIGKILL', oomKilled: true, killedBy: undefined });
    const within = await agent.exec('/opt/test/hog', ['memory', '50'], { cgroup: { memoryMax: 100 * MiB } });
    t.match(within, { code: 0, stdout: 'taken\n', exit: { oomKilled: false } });
    t.equal((await other.members()).processes.length, 1);
    t.equal((await agent.info()).pid, 1);
  });

  await t.test("a session's limits are those of the command's own cgroup", async (t) => {
    const cgroup = { memoryMax: 100 * MiB, memoryHigh: 64 * MiB, pidsMax: 20, cpuMax: 0.5 };
    const { stdout } = await agent.exec(
      'sh',
      [
        '-c',
        `cd "/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)" && cat memory.max memory.high pids.max cpu.max`,
      ],
      { cgroup },
    );
    t.strictSame(stdout.split('\n'), [`${100 * MiB}`, `${64 * MiB}`, '20', '50000 100000', '']);
    const weighed = await agent.exec(
      'sh',
      ['-c', `cat "/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/io.weight"`],
      { cgroup: { ioWeight: 50 } },
    );
    t.equal(weighed.stdout, 'default 50\n');
  });

  await t.test('what a session uses', async (t) => {
    await using session = await agent.spawn('sh', ['-c', '/opt/test/hog memory 30; read line'], {
      cgroup: { memoryMax: 100 * MiB, pidsMax: 20, cpuMax: 0.5 },
    });
    await new Transcript(session.stdout).until('taken');
    const stats = await session.stats();
    t.equal(stats.confidence, 'exact');
    t.ok((stats.memoryPeakBytes ?? 0) > 30 * MiB, `peak ${stats.memoryPeakBytes}`);
    t.ok(stats.memoryBytes > 0 && stats.memoryBytes <= (stats.memoryPeakBytes ?? 0));
    t.ok(stats.cpuUserUs + stats.cpuSystemUs > 0);
    t.equal(stats.oomKills, 0);
  });

  await t.test(`a fork bomb under pidsMax leaves nothing, in ${runs} of ${runs} runs`, async (t) => {
    let left = 0;
    for (let run = 0; run < runs; run++) {
      const session = await agent.spawn('/opt/test/hog', ['fork'], {
        cgroup: { pidsMax: 30 },
        stdin: 'null',
      });
      await new Transcript(session.stdout).until('bomb');
      // Half of them are killed while they grow, half when there are as many as there may be.
      if (run % 2 === 0) while (((await session.stats()).pidsRefused ?? 0) === 0);
      await session.killTree();
      const { signal } = await session.exited;
      if (signal !== 'SIGKILL') t.fail(`the leader ended by ${signal}`);
      left += await session.members().then(
        ({ processes }) => processes.length,
        () => 0,
      );
    }
    t.equal(left, 0);
    const { stdout } = await agent.exec('sh', ['-c', 'grep -l hog /proc/[0-9]*/stat | wc -l']);
    t.equal(stdout.trim(), '0', 'nor does anybody else see one');
  });
});
