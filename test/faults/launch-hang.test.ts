import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { HawserError } from '@hawser/host-client';
import { connect } from '@hawser/host-client';
import type { Test } from 'tap';
import t from 'tap';
import { compile, descendantsOf, isAlive, numbers, until } from '../load/world.js';

const agentProgram = fileURLToPath(new URL('../../agentd/dist/hawser-agentd.cjs', import.meta.url));

interface StuckWorld {
  readonly agentd: ChildProcess;
  readonly line: string;
  readonly mountPoint: string;
  readonly folder: string;
  /** What the file system said, and the agent's log. */
  readonly said: () => string;
  /** How many wait in the file system. */
  stuckCount(): number;
  /** Ends the file system: whoever waited in it gets an error. */
  abort(): Promise<void>;
}

/** An agent in a mount namespace of its own, with a file system in it that does not answer. */
async function startStuckWorld(t: Test): Promise<StuckWorld> {
  const flags = ['-I/usr/include/fuse3', '-lfuse3', '-lpthread'];
  const program = compile(t, 'fuse-stuck', flags);
  const folder = mkdtempSync(join(tmpdir(), 'hawser-stuck-'));
  const mountPoint = join(folder, 'mount');
  mkdirSync(mountPoint);
  const script = '"$0" "$1" & shift; exec "$@"';
  const line = `unix:${join(folder, 'agent.sock')}`;
  const agent = [
    process.execPath,
    agentProgram,
    '--listen',
    line,
    '--log-level',
    'debug',
    '--sessions-max',
    '40',
  ];
  const args = ['--mount', '--propagation', 'private', 'sh', '-c', script, program, mountPoint, ...agent];
  const agentd = spawn('unshare', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [agentd.stdout, agentd.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => (said += text));
  const fileSystem = (): number => Number(/^mounted (\d+)$/m.exec(said)?.[1] ?? 0);
  const abort = async (): Promise<void> => {
    const pid = fileSystem();
    if (pid !== 0 && isAlive(pid)) process.kill(pid, 'SIGKILL');
    await until('the file system to end', () => pid === 0 || !isAlive(pid));
  };
  t.teardown(async () => {
    await abort();
    if (agentd.exitCode === null && agentd.signalCode === null) {
      const exited = once(agentd, 'exit');
      agentd.kill('SIGKILL');
      await exited;
    }
    rmSync(folder, { recursive: true, force: true });
  });
  await until(
    `the agent and the file system: ${said}`,
    () => said.includes('"msg":"ready"') && fileSystem() !== 0,
  );
  const stuckCount = (): number => said.split('\n').filter((text) => text.startsWith('stuck ')).length;
  return { agentd, line, mountPoint, folder, said: () => said, stuckCount, abort };
}

t.test(
  'a launch that hangs in the kernel',
  { skip: existsSync('/dev/fuse') ? false : 'no /dev/fuse: NOTHING here was tested' },
  async (t) => {
    const world = await startStuckWorld(t);
    const script = join(world.folder, 'script');
    writeFileSync(script, `#!${join(world.mountPoint, 'program')}\n`, { mode: 0o755 });
    const kinds = [
      { name: 'its executable does not answer', cmd: join(world.mountPoint, 'program'), options: {} },
      {
        name: 'its working directory does not answer',
        cmd: 'true',
        options: { cwd: join(world.mountPoint, 'folder') },
      },
      { name: 'its script interpreter does not answer', cmd: script, options: {} },
      { name: 'in a terminal', cmd: join(world.mountPoint, 'program'), options: { tty: true } },
    ];
    const agent = await connect(world.line);
    const own = descendantsOf(world.agentd.pid as number).length;
    const leftBehind = () => descendantsOf(world.agentd.pid as number).filter(isAlive).length - own;

    for (const [i, kind] of kinds.entries()) {
      await t.test(kind.name, async (t) => {
        const before = (await agent.info()).launchesPending;
        const controller = new AbortController();
        const hanging = agent.exec(kind.cmd, [], { ...kind.options, signal: controller.signal });
        hanging.catch(() => {});
        await until('the launch to hang', () => world.stuckCount() > 0);
        await until(
          'the launch to be counted',
          async () => (await agent.info()).launchesPending === before + 1,
        );
        for (const n of numbers(20)) t.equal((await agent.exec('echo', [String(n)])).stdout, `${n}\n`);
        t.ok((await agent.ping()) >= 0);
        controller.abort();
        await t.rejects(hanging, { code: 'aborted' });
        const out = agent.exec(kind.cmd, [], { ...kind.options, timeoutMs: 300 });
        await t.rejects(out, { code: 'timed_out', stage: 'exec' });
        t.equal((await agent.exec('echo', ['on'])).stdout, 'on\n');
        t.ok(leftBehind() <= 2 * (i + 1), 'nothing but the hanging ones is left');
      });
    }

    await t.test(
      'launches that hang take places among the sessions, and no more than there are',
      async (t) => {
        const cmd = join(world.mountPoint, 'program');
        const results = await Promise.all(
          numbers(60).map(() =>
            agent.exec(cmd, [], { timeoutMs: 200 }).catch((error: unknown) => (error as HawserError).code),
          ),
        );
        t.equal(
          results.filter((code) => code === 'timed_out').length +
            results.filter((code) => code === 'too_many_sessions').length,
          60,
        );
        t.ok(results.includes('too_many_sessions'));
        t.ok(leftBehind() <= 40);
      },
    );

    await t.test('when the file system is gone, so are they', async (t) => {
      await world.abort();
      await until('all of them to be gone', () => leftBehind() <= 0);
      await until('none to be pending', async () => (await agent.info()).launchesPending === 0);
      t.equal((await agent.info()).sessionsRunning, 0);
      t.equal((await agent.exec('echo', ['free'])).stdout, 'free\n');
      await agent.close();
      t.notMatch(world.said(), /internal error/);
    });
  },
);

t.test(
  'an agent with a launch that hangs ends when it is told to',
  { skip: !existsSync('/dev/fuse') },
  async (t) => {
    const world = await startStuckWorld(t);
    const agent = await connect(world.line);
    const hanging = agent.exec(join(world.mountPoint, 'program'));
    hanging.catch(() => {});
    await until('the launch to hang', () => world.stuckCount() > 0);
    const exited = once(world.agentd, 'exit');
    world.agentd.kill('SIGTERM');
    await t.rejects(hanging, { code: 'cancelled' });
    t.same(await exited, [0, null]);
  },
);
