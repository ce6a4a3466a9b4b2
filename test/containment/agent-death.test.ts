import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { startAgent } from '../support/agentd.js';
import {
  bearersOf,
  escape,
  eventually,
  extinct,
  hasCgroups,
  isAlive,
  modes,
  newToken,
  Transcript,
  watchdogOf,
  watchdogStarted,
} from './world.js';

/** Every way out at once. They are waited for by pid: the number of a job that has ended is the next one's. */
const script = `
  ${escape} setsid $TOKEN & first=$!; ${escape} orphan $TOKEN & second=$!; ${escape} daemon $TOKEN & third=$!
  nohup ${escape} wait $TOKEN >/dev/null 2>&1 &
  wait $first $second $third
  echo ready
  exec ${escape} wait $TOKEN
`;
const processes = 5;

function cgroupsOf(agent: number): string[] {
  const mount = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .find((fields) => fields[2] === 'cgroup2')?.[1];
  return mount === undefined ? [] : readdirSync(mount).filter((name) => name.startsWith(`hawser-${agent}-`));
}

for (const mode of modes()) {
  t.test(`contained by ${mode}`, async (t) => {
    await t.test('nothing of the sessions is left when the agent is killed', async (t) => {
      const agentd = await startAgent({ args: ['--containment', mode] });
      const agent = await agentd.connect();
      t.equal(watchdogOf(agentd.pid), undefined, 'an agent without sessions has no watchdog');
      const tokens = [newToken(), newToken(), newToken()];
      for (const token of tokens) {
        const session = await agent.spawn('bash', ['-c', script], { env: { TOKEN: token } });
        session.exited.catch(() => {});
        await new Transcript(session.stdout).until('ready');
      }
      const ended = newToken();
      await agent.exec('sh', ['-c', `${escape} daemon ${ended}`]);
      await eventually(() => tokens.every((token) => bearersOf(token).length === processes));
      t.equal(bearersOf(ended).length, 1);
      const watchdog = await watchdogStarted(agentd.pid);
      agentd.child.kill('SIGKILL');
      for (const token of [...tokens, ended]) await extinct(token);
      await eventually(() => !isAlive(watchdog));
      t.pass('and the watchdog is gone, too');
      if (mode === 'cgroup') t.strictSame(cgroupsOf(agentd.pid), []);
      await agent.close();
      await agentd[Symbol.asyncDispose]();
    });

    await t.test('nor when it ends in order', async (t) => {
      const agentd = await startAgent({ args: ['--containment', mode] });
      const agent = await agentd.connect();
      const token = newToken();
      await agent.exec('sh', ['-c', `${escape} daemon ${token}; ${escape} orphan ${token}`]);
      t.equal(bearersOf(token).length, 2);
      await agentd[Symbol.asyncDispose]();
      t.strictSame(bearersOf(token), []);
      if (mode === 'cgroup') t.strictSame(cgroupsOf(agentd.pid), []);
      await agent.close();
    });

    await t.test('a watchdog that is killed is replaced, and is no member of a session', async (t) => {
      await using agentd = await startAgent({ args: ['--containment', mode] });
      await using agent = await agentd.connect();
      await using first = await agent.spawn('sleep', ['60']);
      const watchdog = await watchdogStarted(agentd.pid);
      t.strictSame(
        (await first.members()).processes.map(({ pid }) => pid),
        [first.pid],
      );
      await t.rejects(first.killOne(watchdog), { code: 'not_a_member' });
      process.kill(watchdog, 'SIGKILL');
      await eventually(() => agentd.log().includes('no watchdog'));
      await agent.exec('true');
      const next = await watchdogStarted(agentd.pid);
      t.not(next, watchdog);
      const status = readFileSync(`/proc/${next}/status`, 'latin1');
      t.ok(Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) < 200, 'it takes some pages of memory');
    });

    await t.test('what is to survive the agent does, and nothing else', async (t) => {
      const stays = newToken();
      const goes = newToken();
      const child = spawn(
        process.execPath,
        [
          '--import',
          fileURLToPath(new URL('../../tooling/typescript.mjs', import.meta.url)),
          '--conditions=@hawser/source',
          fileURLToPath(new URL('../../agentd/test/fixtures/two-trees.ts', import.meta.url)),
        ],
        {
          env: { ...process.env, MODE: mode, ESCAPE: escape, STAYS: stays, GOES: goes },
          stdio: ['ignore', 'pipe', 'inherit'],
        },
      );
      await new Transcript(child.stdout).until('ready');
      t.equal(bearersOf(stays).length, 2);
      t.equal(bearersOf(goes).length, 2);
      const watchdog = await watchdogStarted(child.pid as number);
      child.kill('SIGKILL');
      await extinct(goes);
      await eventually(() => !isAlive(watchdog));
      t.equal(bearersOf(stays).length, 2, 'now that the watchdog has done its work');
      for (const pid of bearersOf(stays)) process.kill(pid, 'SIGKILL');
      await extinct(stays);
      if (mode === 'cgroup') {
        // The next agent removes what this one left.
        await using agentd = await startAgent({ args: ['--containment', mode] });
        await using agent = await agentd.connect();
        await agent.exec('true');
        t.strictSame(cgroupsOf(child.pid as number), []);
      }
    });
  });
}

if (hasCgroups()) {
  t.test('two agents side by side leave each other alone', async (t) => {
    await using one = await startAgent({ args: ['--containment', 'cgroup'] });
    await using agentOne = await one.connect();
    await using session = await agentOne.spawn('sleep', ['60']);
    await agentOne.exec('true');
    await using two = await startAgent({ args: ['--containment', 'cgroup'] });
    await using agentTwo = await two.connect();
    await agentTwo.exec('true');
    two.child.kill('SIGKILL');
    await eventually(() => cgroupsOf(two.pid).length === 0);
    t.ok(isAlive(session.pid));
    t.equal((await agentOne.exec('echo', ['still'])).stdout, 'still\n');
    t.equal(cgroupsOf(one.pid).length, 1);
  });
}
