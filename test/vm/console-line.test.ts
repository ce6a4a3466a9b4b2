import { createHash, randomBytes } from 'node:crypto';
import t from 'tap';
import { behaviours } from './behaviour.js';
import { bootGuest } from './guest.js';
import { skipWithoutQemu, testImage } from './image.js';

const KiB = 1024;
/** On a line of 10 kB/s nobody should have a megabyte on the way. */
const slow = { windowBytes: 16 * KiB };

/** A line of the kernel's on every console, whatever its log level. */
const shout = (text: string): string => `echo '<0>${text}' > /dev/kmsg`;

t.test(
  'the line is the UART that the kernel prints to',
  { skip: skipWithoutQemu, timeout: 600_000 },
  async (t) => {
    await using guest = await bootGuest({
      image: testImage(),
      serials: ['shared'],
      // Without `quiet`: all of the kernel's messages of the boot are on the line.
      append: ['hawser.listen=uart:/dev/ttyS0'],
    });
    const agent = await guest.connect('shared', slow);

    await t.test('the boot messages are skipped and counted', async (t) => {
      t.ok(agent.counters.skippedBytes > 1000, `${agent.counters.skippedBytes} bytes`);
      t.match(await agent.info(), { pid: 1 });
    });

    await t.test('the behaviour list', (t) => behaviours(t, agent, { bulkBytes: 16 * KiB }));

    await t.test('nothing of what the agent logs is printed', async (t) => {
      const before = agent.counters.skippedBytes;
      for (const cmd of ['true', 'no-such-command']) await agent.exec(cmd).catch(() => {});
      const { stdout } = await agent.exec('sh', ['-c', 'dmesg | grep hawser-agentd']);
      t.match(stdout, /"msg":"ready"/, 'it is in the kernel log');
      t.equal(agent.counters.skippedBytes, before);
    });

    await t.test('messages of the kernel between frames do no harm', async (t) => {
      const before = agent.counters.skippedBytes;
      for (let i = 0; i < 5; i++) {
        // By a process that the agent does not speak of while the kernel prints: asleep, then loud, then asleep.
        const { stdout } = await agent.exec('sh', [
          '-c',
          `sleep 0.2; ${shout(`between ${i}`)}; sleep 0.2; echo ${i}`,
        ]);
        t.equal(stdout, `${i}\n`);
      }
      t.ok(agent.counters.skippedBytes > before, 'they came, and were skipped');
    });

    await t.test('messages in the middle of frames cost nothing but time', async (t) => {
      const losses: string[] = [];
      agent.onState = (state, reason) => {
        if (state === 'resuming') losses.push(reason?.code ?? '');
      };
      for (let round = 0; round < 4; round++) {
        const noise = await agent.spawn('sh', [
          '-c',
          `while :; do ${shout('in the middle of it all')}; sleep 0.1; done`,
        ]);
        const input = randomBytes(8 * KiB);
        const { stdout, exit } = await agent.exec('cat', [], { input, encoding: 'buffer' });
        t.equal(sha256(stdout), sha256(input), 'what came back is what was sent');
        t.equal(exit.stdout.bytes, input.length);
        await noise.kill();
      }
      t.ok(agent.counters.skippedBytes > 0);
      for (const loss of losses) t.equal(loss, 'line_corrupt', 'it was noticed, and made good');
      // The last of the noise may just have been noticed: what is asked now is answered when that is made good.
      while (agent.state !== 'connected') await agent.info();
    });

    await t.test('it ends in order, on the same line', async (t) => {
      await agent.shutdown();
      await agent.closed;
      t.strictSame(await guest.exited, [0, null]);
    });
  },
);

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
