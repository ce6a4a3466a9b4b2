import { once } from 'node:events';
import { createConnection } from 'node:net';
import { Duplex } from 'node:stream';
import { connect } from '@hawser/host-client';
import t from 'tap';
import { Transcript } from '../semantics/lines.js';
import { behaviours } from './behaviour.js';
import { bootGuest } from './guest.js';
import { skipWithoutQemu, testImage } from './image.js';

const KiB = 1024;
const MiB = 1024 * KiB;

t.test(
  'one guest, its lines: virtio-serial, the second UART, vsock',
  { skip: skipWithoutQemu, timeout: 600_000 },
  async (t) => {
    await using guest = await bootGuest({
      image: testImage(),
      machine: 'q35',
      ports: ['agent', 'second'],
      serials: ['console', 'uart'],
      append: [
        'quiet',
        'hawser.listen=virtio:agent,virtio:second,uart:/dev/ttyS1,vsock:5000,virtio:missing',
        'hawser.vsock-allow-loopback',
      ],
    });
    let agent = await guest.connect('agent');
    t.match(await agent.info(), { pid: 1, system: { hostname: 'hawser' } }, 'the agent is the first process');

    await t.test('virtio-serial, by its name', (t) => behaviours(t, agent, { bulkBytes: 8 * MiB }));

    await t.test('a second port is a line of its own', async (t) => {
      await using second = await guest.connect('second');
      t.equal((await second.exec('echo', ['there'])).stdout, 'there\n');
    });

    await t.test('the second UART, while the console is on the first', async (t) => {
      // At 10 kB/s nobody should have a megabyte on the way.
      await using uart = await guest.connect('uart', { windowBytes: 16 * KiB });
      await behaviours(t, uart, { bulkBytes: 32 * KiB });
      const { lines } = await uart.info();
      t.match(
        lines.find(({ kind }) => kind === 'uart'),
        { name: 'uart:/dev/ttyS1' },
      );
    });

    await t.test('vsock, from inside the guest', async (t) => {
      const bridge = await agent.spawn('/usr/bin/node', ['/opt/hawser/test/vsock-bridge.mjs', '1', '5000']);
      bridge.stderr?.on('data', (chunk) => t.comment(`bridge: ${String(chunk)}`));
      const line = Duplex.from({ readable: bridge.stdout, writable: bridge.stdin });
      const inner = await connect(line, { handshakeTimeoutMs: 60_000 });
      const { lines } = await inner.info();
      t.match(
        lines.find(({ kind }) => kind === 'vsock'),
        { name: /vsock:5000 \(CID 1, port \d+\)/ },
      );
      await behaviours(t, inner, { bulkBytes: 2 * MiB });
      await inner.close();
      await bridge.kill();
    });

    await t.test('the command hawser runs in the guest, over vsock', async (t) => {
      const args = [
        '/opt/hawser/test/hawser.mjs',
        'exec',
        '-i',
        'vsock:1:5000',
        '--',
        'sh',
        '-c',
        'cat; exit 5',
      ];
      t.match(await agent.exec('/usr/bin/node', args, { input: 'deep' }), {
        code: 5,
        stdout: 'deep',
        stderr: '',
      });
    });

    await t.test('a line that is not there is tried on and logged, and nothing more', async (t) => {
      const { stdout } = await agent.exec('sh', ['-c', 'dmesg | grep hawser-agentd']);
      t.equal(stdout.match(/"trouble on a transport".*virtio:missing/g)?.length, 1);
      t.match(stdout, /"msg":"ready"/);
      t.notMatch(guest.console(), /hawser-agentd: \{"level":"info"/, 'a quiet console shows errors only');
    });

    await t.test('a host that goes and comes back is served, on virtio-serial and on the UART', async (t) => {
      await agent.close();
      for (const name of ['agent', 'uart'])
        for (let round = 1; round <= 3; round++) {
          await using again = await guest.connect(name);
          t.equal((await again.exec('echo', [String(round)])).stdout, `${round}\n`, `${name}, ${round}`);
        }
      agent = await guest.connect('agent');
    });

    await t.test('a host that is cut off in the middle of a transfer, and the next one', async (t) => {
      await agent.close();
      for (const name of ['agent', 'uart']) {
        const socket = createConnection(guest.line(name).slice('unix:'.length));
        await once(socket, 'connect');
        const cut = await connect(socket, { handshakeTimeoutMs: 60_000, windowBytes: 16 * KiB });
        const session = await cut.spawn('yes');
        await once(session.stdout, 'readable');
        socket.destroy();
        await cut.closed;
        await using next = await guest.connect(name, { windowBytes: 16 * KiB });
        t.equal((await next.exec('echo', ['next'])).stdout, 'next\n', name);
      }
      agent = await guest.connect('agent');
    });

    await t.test('orphans are reaped, and leaders are left to their sessions', async (t) => {
      const session = await agent.spawn('sh', [
        '-c',
        'for i in 1 2 3 4 5; do (sleep 0.1 & exec true) & done; wait; echo over; cat',
      ]);
      await new Transcript(session.stdout).until('over\n');
      await agent.exec('sh', ['-c', '(setsid sleep 0.3 &) ; sleep 0.6']);
      const zombies = "for s in /proc/[0-9]*/stat; do cut -d')' -f2 $s; done 2>/dev/null | grep -c '^ Z'";
      t.equal((await agent.exec('sh', ['-c', `${zombies}; true`])).stdout, '0\n');
      session.stdin?.end();
      t.match(await session.exited, { code: 0 });
    });

    await t.test('the system is what Linux programs expect', async (t) => {
      const { stdout: mounts } = await agent.exec('cat', ['/proc/mounts']);
      for (const [target, type] of Object.entries({
        '/proc': 'proc',
        '/sys': 'sysfs',
        '/dev': 'devtmpfs',
        '/dev/pts': 'devpts',
        '/dev/shm': 'tmpfs',
        '/run': 'tmpfs',
        '/tmp': 'tmpfs',
        '/sys/fs/cgroup': 'cgroup2',
      }))
        t.match(mounts, new RegExp(`^\\S+ ${target} ${type} `, 'm'), target);
      t.match(
        await agent.exec('ping', ['-c', '1', '127.0.0.1']),
        { code: 0 },
        'the loopback interface is up',
      );
      t.match(await agent.exec('sh', ['-c', 'echo x | cat /dev/stdin; ls /dev/fd/']), {
        code: 0,
        stdout: /^x\n0\n/,
      });
      t.match((await agent.exec('stat', ['-c', '%a', '/tmp', '/dev/shm'])).stdout, '1777\n1777\n');
    });

    await t.test('control groups are handed down, and the agent has its own', async (t) => {
      const read = async (path: string): Promise<string> =>
        (await agent.exec('cat', [`/sys/fs/cgroup/${path}`])).stdout.trim();
      t.equal((await agent.exec('cat', ['/proc/1/cgroup'])).stdout, '0::/agentd\n');
      const controllers = (await read('cgroup.controllers')).split(' ');
      for (const name of ['cpu', 'memory', 'pids', 'io']) t.ok(controllers.includes(name), name);
      t.strictSame((await read('hawser/cgroup.controllers')).split(' ').toSorted(), controllers.toSorted());
      t.strictSame(
        (await read('hawser/cgroup.subtree_control')).split(' ').toSorted(),
        controllers.toSorted(),
      );
    });

    await t.test('the end in order: sessions are told, TERM and KILL, goodbye, power off', async (t) => {
      const polite = await agent.spawn('sh', [
        '-c',
        'trap "echo bye; exit 7" TERM; echo up; while :; do sleep 0.1; done',
      ]);
      const deaf = await agent.spawn('sh', ['-c', 'trap "" TERM; echo up; while :; do sleep 0.1; done']);
      const outputs = [polite, deaf].map(({ stdout }) => new Transcript(stdout));
      for (const output of outputs) await output.until('up\n');
      await agent.shutdown({ graceMs: 500 });
      t.match(await polite.exited, { code: 7, killedBy: 'shutdown' });
      t.equal(await (outputs[0] as Transcript).rest(), 'bye\n');
      t.match(await deaf.exited, { signal: 'SIGKILL', killedBy: 'shutdown' });
      t.match(await agent.closed, { message: /shutting down/ });
      t.strictSame(await guest.exited, [0, null]);
      t.match(guest.console(), /Power down/);
      t.notMatch(guest.console(), /internal error|panic/i);
    });
  },
);
