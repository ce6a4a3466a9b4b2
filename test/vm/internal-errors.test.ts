import t from 'tap';
import { bootGuest } from './guest.js';
import { skipWithoutQemu, testImage } from './image.js';

const KiB = 1024;

t.test(
  'a bug in the first process: its stack is in the kernel’s log, and both lines go on',
  { skip: skipWithoutQemu, timeout: 600_000 },
  async (t) => {
    await using guest = await bootGuest({
      image: testImage(),
      machine: 'q35',
      ports: ['agent'],
      serials: ['console', 'uart'],
      // What the kernel does not know and has a `=` becomes a variable of the first process.
      append: [
        'quiet',
        'hawser.listen=virtio:agent,uart:/dev/ttyS1',
        'hawser.set-clock=false',
        'NODE_OPTIONS=--require=/opt/test/broken-calls.cjs',
      ],
    });
    const virtio = await guest.connect('agent');
    await using uart = await guest.connect('uart', { windowBytes: 16 * KiB });

    for (const [name, agent] of Object.entries({ virtio, uart })) {
      await t.test(`requests over ${name}`, async (t) => {
        await t.rejects(agent.info(), { code: 'internal', message: /Info: TypeError: broken release/ });
        const refused = { code: 'internal', message: /broken launch/ };
        await t.rejects(agent.exec('echo', ['break this', name]), refused);
        t.equal((await agent.exec('echo', ['still', name])).stdout, `still ${name}\n`);
      });
    }
    await guest.awaitConsole(
      /"internal error","where":"Info".*TypeError: broken release\\n +at .*broken-calls\.cjs/,
    );
    await guest.awaitConsole(/"where":"ExecRequest".*TypeError: broken launch\\n +at .*broken-calls\.cjs/);

    await t.test('what nobody catches', async (t) => {
      await virtio.exec('kill', ['-WINCH', '1']);
      await guest.awaitConsole(/TypeError: broken timer\\n +at /);
      await virtio.exec('kill', ['-URG', '1']);
      await guest.awaitConsole(/TypeError: broken promise\\n +at /);
      for (const agent of [virtio, uart])
        t.match(
          (await agent.exec('cat', ['/proc/1/comm'])).stdout,
          /^node\n$/,
          'the agent is still the first process',
        );
      t.match(
        (await virtio.exec('dmesg')).stdout,
        /caused by RangeError: beneath it/,
        'a long stack is whole',
      );
    });

    await virtio.shutdown();
    t.strictSame(await guest.exited, [0, null]);
    t.notMatch(guest.console(), /Kernel panic/);
  },
);
