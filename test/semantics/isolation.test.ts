import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { Agent, Session, SpawnOptions } from '@hawser/host-client';
import { compile, overEachLine, readAll, Transcript } from './lines.js';

const isRoot = process.getuid?.() === 0;
const inherited = compile('inherited');

const clean = /^dispositions\nmask 0\npending 0\ndescriptors 0 1 2\nnonblocking\n$/;

/** Where the process's descriptors lead: NUMBER to `pipe:[123]` or a path. */
function descriptorsOf(pid: number): Record<string, string> {
  const folder = `/proc/${pid}/fd`;
  return Object.fromEntries(
    readdirSync(folder).map((number) => [number, readlinkSync(`${folder}/${number}`)]),
  );
}

/** A `cat` that has shown that it runs. */
async function running(agent: Agent, options: SpawnOptions = {}): Promise<Session> {
  const session = await agent.spawn('cat', [], options);
  session.stdin?.write('x\n');
  await new Transcript(session.stdout).until(/x\r?\n/);
  return session;
}

overEachLine(
  async (t, { agent, agentd }) => {
    for (const options of [
      {},
      { tty: true },
      ...(isRoot ? [{ user: 'nobody' }, { user: 'nobody', tty: true }] : []),
    ]) {
      const how = JSON.stringify(options);
      await t.test(`a command inherits no signal state and no descriptor ${how}`, async (t) => {
        const { stdout } = await agent.exec(inherited, [], options);
        t.match(stdout.replaceAll('\r', ''), clean);
      });

      await t.test(`/dev/stdout and /dev/stderr can be opened ${how}`, async (t) => {
        const script =
          'echo out > /dev/stdout; echo err > /dev/stderr; echo fd > /proc/self/fd/1; head -c 3 < /dev/stdin';
        const session = await agent.spawn('sh', ['-ec', script], options);
        session.stdin?.end('in\n');
        const [stdout, stderr] = await Promise.all([
          readAll(session.stdout),
          session.stderr && readAll(session.stderr),
        ]);
        const { code } = await session.exited;
        t.equal(code, 0);
        if (stderr === null)
          t.match(String(stdout).replaceAll('\r', ''), /out\n(.*\n)*err\n(.*\n)*fd\n(.*\n)*in\n/);
        else t.strictSame([String(stdout), String(stderr)], ['out\nfd\nin\n', 'err\n']);
      });
    }

    await t.test(
      "the descriptor limit is the system's, not the one that Node raised for itself",
      async (t) => {
        const { stdout } = await agent.exec('sh', ['-c', 'ulimit -Sn; ulimit -Hn']);
        const hard = /Max open files +\d+ +(\d+)/.exec(
          readFileSync(`/proc/${agentd.pid}/limits`, 'utf8'),
        )?.[1];
        t.equal(stdout, `${Math.min(1024, Number(hard))}\n${hard}\n`);
      },
    );

    await t.test('the agent goes first when it is woken, and no command inherits that', async (t) => {
      // CONFIG_SCHED_DEBUG; slices of one's own are Linux 6.12's.
      const sliceOf = (text: string): string | undefined => /^se\.slice\s*:\s*(\d+)$/m.exec(text)?.[1];
      const { stdout } = await agent.exec('cat', ['/proc/self/sched', '/proc/sys/kernel/osrelease']);
      t.equal(sliceOf(stdout), sliceOf(execFileSync('cat', ['/proc/self/sched'], { encoding: 'utf8' })));
      const [, major = 0, minor = 0] = (/^(\d+)\.(\d+)\./m.exec(stdout) ?? []).map(Number);
      if (sliceOf(stdout) === undefined || major * 1000 + minor < 6012)
        t.comment(`Linux ${major}.${minor} shows no slices of one's own: the agent's is not looked at`);
      else t.equal(sliceOf(readFileSync(`/proc/${agentd.pid}/sched`, 'utf8')), '100000');
    });

    await t.test('many at once inherit nothing of one another', async (t) => {
      await using pipes = await running(agent);
      await using terminal = await running(agent, { tty: true });
      t.not(pipes.pid, terminal.pid);
      const results = await Promise.all(
        Array.from({ length: 60 }, (_, i) =>
          agent.exec(inherited, [], { tty: i % 3 === 0, ...(i % 2 === 0 && { oomScoreAdj: 1 }) }),
        ),
      );
      for (const { stdout } of results) t.match(stdout.replaceAll('\r', ''), clean);
    });

    await t.test('standard input without a host is /dev/null', async (t) => {
      for (const tty of [false, true]) {
        await using session = await agent.spawn('sh', ['-c', 'echo up; sleep 60; :'], {
          stdin: 'null',
          tty,
        });
        await new Transcript(session.stdout).until('up');
        t.equal(descriptorsOf(session.pid)['0'], '/dev/null');
      }
    });

    await t.test('the variables of the agent stay with it, unless they are asked for', async (t) => {
      for (const tty of [false, true]) {
        const ours = await running(agent, { tty });
        const environment = (pid: number): string[] =>
          readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').slice(0, -1);
        const names = environment(ours.pid)
          .map((entry) => String(entry.split('=')[0]))
          .sort();
        t.strictSame(names, ['HOME', 'LOGNAME', 'PATH', 'SHELL', ...(tty ? ['TERM'] : []), 'USER']);
        await ours[Symbol.asyncDispose]();
        const heir = await running(agent, { tty, inheritEnv: true, env: { MORE: '1', CHANGED: 'new' } });
        const all = environment(heir.pid);
        t.ok(all.includes('AGENT_SECRET=of the agent=\nits own'), 'as the agent has it');
        t.ok(all.includes('MORE=1') && all.includes('CHANGED=new') && !all.includes('CHANGED=old'));
        await heir[Symbol.asyncDispose]();
      }
    });

    await t.test('sessions share no descriptor, with each other or with the agent', async (t) => {
      const sessions = await Promise.all(
        [{}, {}, { tty: true }, { tty: true }].map((options) => running(agent, options)),
      );
      const held = sessions.map(({ pid }) => new Set(Object.values(descriptorsOf(pid))));
      t.strictSame(
        held.map(({ size }) => size),
        [3, 3, 1, 1],
      );
      t.equal(new Set(held.flatMap((targets) => [...targets])).size, 8);
      // The agent has the other ends: a pipe has one name for both, a terminal's is /dev/ptmx.
      const agents = Object.values(descriptorsOf(agentd.pid));
      const terminals = held.slice(2).flatMap((targets) => [...targets]);
      t.notOk(
        terminals.some((terminal) => agents.includes(terminal)),
        'the agent has let go of the terminals',
      );
      const [first, second] = sessions as [Session, Session];
      first.stdin?.end();
      t.match(await first.exited, { code: 0 }, 'the end of one stdin is not held up by another session');
      second.stdin?.end();
      await second.exited;
      for (const session of sessions) await session[Symbol.asyncDispose]();
    });

    await t.test('one user reaches nothing of another', { skip: !isRoot }, async (t) => {
      for (const tty of [false, true]) {
        const theirs = await running(agent, { user: 'daemon', tty });
        const attempt = (path: string): string =>
          `(: < ${path}) 2>/dev/null && echo "${path} can be read"; (: >> ${path}) 2>/dev/null && echo "${path} can be written"`;
        const paths = [0, 1, 2].map((fd) => `/proc/${theirs.pid}/fd/${fd}`);
        paths.push(`/proc/${theirs.pid}/environ`, `/proc/${theirs.pid}/mem`);
        if (tty) paths.push(descriptorsOf(theirs.pid)['0'] ?? '');
        const { stdout } = await agent.exec(
          'sh',
          [
            '-c',
            `${paths.map(attempt).join('; ')}; kill -0 ${theirs.pid} 2>/dev/null && echo "can be signalled"; true`,
          ],
          { user: 'nobody' },
        );
        t.equal(stdout, '');
        await theirs[Symbol.asyncDispose]();
      }
    });
  },
  { env: { AGENT_SECRET: 'of the agent=\nits own', CHANGED: 'old' } },
);
