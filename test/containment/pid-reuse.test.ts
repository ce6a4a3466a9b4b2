import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { release, tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Agent, Session } from '@hawser/host-client';
import { connect } from '@hawser/host-client';
import t from 'tap';
import { type Mode, modes, Transcript } from './world.js';

const program = fileURLToPath(new URL('../../agentd/dist/hawser-agentd.cjs', import.meta.url));
const nodeFlags = createRequire(import.meta.url)('../../agentd/node-flags.json') as string[];

/** So few that pids recur while the test runs, wherever they are not made to. */
const pidMax = 400;

/** Linux 6.14 has a pid_max for each pid namespace; before, a small one would be everybody's. */
function hasOwnPidMax(): boolean {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  return major > 6 || (major === 6 && minor >= 14);
}

interface World {
  readonly agent: Agent;
  readonly child: ChildProcess;
  readonly folder: string;
}

/** An agent in a pid namespace of its own, as its first process but one, so that it has a watchdog, too. */
async function startConfined(mode: Mode): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'hawser-reuse-'));
  const line = `unix:${join(folder, 'agent.sock')}`;
  const limit = hasOwnPidMax() ? `echo ${pidMax} > /proc/sys/kernel/pid_max;` : '';
  const agentd = [process.execPath, ...nodeFlags, program, '--listen', line, '--containment', mode];
  // The shell stays: it is the namespace's first process, and waits for orphans.
  const child = spawn(
    'unshare',
    [
      '--pid',
      '--fork',
      '--mount-proc',
      '--kill-child',
      'bash',
      '-c',
      `${limit} "$@" & wait $!`,
      'bash',
      ...agentd,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let log = '';
  await new Promise<void>((resolve, reject) => {
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      log += text;
      if (log.includes('"msg":"ready"')) resolve();
    });
    child.once('exit', () => reject(new Error(`the agent ended: ${log}`)));
  });
  return { agent: await connect(line), child, folder };
}

async function stop({ agent, child, folder }: World): Promise<void> {
  await agent.close();
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
  rmSync(folder, { recursive: true, force: true });
}

/**
 * Has the kernel go on numbering from there, and starts processes until one has that pid: a session
 * whose leader it is.
 */
async function sessionWithPid(agent: Agent, pid: number): Promise<Session> {
  for (let tries = 0; tries < 20; tries++) {
    await agent.exec('sh', ['-c', `echo ${pid - 2} > /proc/sys/kernel/ns_last_pid`]);
    for (let near = 0; near < 3; near++) {
      const session = await agent.spawn('sleep', ['600'], { stdin: 'null' });
      if (session.pid === pid) return session;
      await session.killTree();
      await session.exited;
    }
  }
  throw new Error(`no process got pid ${pid}`);
}

async function lives(session: Session): Promise<boolean> {
  const { processes } = await session.members();
  return processes.some(({ pid, state }) => pid === session.pid && state !== 'Z');
}

const possible = userInfo().uid === 0 && existsSync('/proc/sys/kernel/ns_last_pid');
if (!possible) t.comment('this takes root, and a kernel with CONFIG_CHECKPOINT_RESTORE: not tried');

for (const mode of possible ? modes() : []) {
  t.test(`contained by ${mode}`, async (t) => {
    const world = await startConfined(mode);
    const { agent } = world;
    t.teardown(() => stop(world));

    await t.test('who has the pid of a session that has ended is not what its requests reach', async (t) => {
      const ended = await agent.spawn('sleep', ['600']);
      const { pid } = ended;
      await ended.kill();
      await ended.exited;
      const heir = await sessionWithPid(agent, pid);
      t.equal(heir.pid, pid, 'the pid was used again');
      for (const target of ['leader', 'group', 'tree'] as const)
        await t.rejects(ended.signal('SIGKILL', { target }), { code: 'session_ended' }, target);
      await t.rejects(ended.killOne(pid), { code: 'session_ended' });
      await ended.kill();
      await ended.killTree();
      t.ok(await lives(heir));
      await heir.killTree();
    });

    await t.test('nor what the requests of one reach whose leader is dead, and others live', async (t) => {
      const left = await agent.spawn('sh', ['-c', 'setsid sleep 601 & echo $!']);
      const survivor = Number((await new Transcript(left.stdout).until(/(\d+)\n/))[1]);
      const { survivors } = await left.exited;
      t.equal(survivors, 1);
      const heir = await sessionWithPid(agent, left.pid);
      t.equal(heir.pid, left.pid);
      t.strictSame(
        (await left.members()).processes.map(({ pid }) => pid),
        [survivor],
      );
      await t.rejects(left.killOne(heir.pid), { code: 'not_a_member' });
      await left.freeze();
      await left.thaw();
      await left.killTree();
      t.ok(await lives(heir));
      await heir.killTree();
    });

    await t.test('nor what a session may signal that never had it', async (t) => {
      const bystander = await agent.spawn('sh', ['-c', 'sleep 602 & echo $!; wait; exec sleep 603']);
      const member = Number((await new Transcript(bystander.stdout).until(/(\d+)\n/))[1]);
      await bystander.killOne(member);
      const heir = await sessionWithPid(agent, member);
      t.equal(heir.pid, member, 'the pid of a member that has died');
      await t.rejects(bystander.killOne(member), { code: 'not_a_member' });
      await bystander.signal('SIGKILL', { target: 'tree' });
      await bystander.exited;
      t.ok(await lives(heir));
      await heir.killTree();
    });
  });
}
