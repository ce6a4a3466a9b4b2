import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { bearersOf, cgroupMount, escape, newToken, overEachMode, Transcript } from './world.js';

/** As many as the issue asks for. */
const runs = 100;

/**
 * Every way out at once; each process that gets away has $TOKEN in its command line. They are waited for by pid: the
 * number of a job that has ended is the next one's.
 */
const script = `
  ${escape} setsid $TOKEN & first=$!; ${escape} orphan $TOKEN & second=$!; ${escape} daemon $TOKEN & third=$!
  nohup ${escape} wait $TOKEN >/dev/null 2>&1 &
  ${escape} wait $TOKEN & disown
  (${escape} wait $TOKEN &)
  setsid sh -c '${escape} wait "$0" & ${escape} orphan "$0"; exec ${escape} wait "$0"' $TOKEN &
  wait $first $second $third
  echo ready
  exec ${escape} wait $TOKEN
`;

/** setsid, orphan, daemon, nohup, disown, subshell, the second session's three, and the leader. */
const escapees = 10;

overEachMode(async (t, { agent, mode }) => {
  await t.test(`killTree leaves none of ${escapees} escapees, in ${runs} of ${runs} runs`, async (t) => {
    let left = 0;
    for (let run = 0; run < runs; run++) {
      const token = newToken();
      const session = await agent.spawn('bash', ['-c', script], { env: { TOKEN: token } });
      await new Transcript(session.stdout).until('ready');
      // Some of them may still be on their way: that must not save them.
      if (run % 2 === 0) while (bearersOf(token).length < escapees) await agent.ping();
      await session.killTree();
      left += bearersOf(token).length;
      const { signal, killedBy } = await session.exited;
      if (signal !== 'SIGKILL' || killedBy !== 'request') t.fail(`ended by ${signal}, ${killedBy}`);
    }
    t.equal(left, 0);
  });

  if (mode === 'cgroup') {
    // As one that is born in the wrong moment: cgroup.kill leaves it (6 of 1,000 trees that fork all the time, Linux 6.18).
    await t.test('killTree ends who came among them behind the kernel’s back', async (t) => {
      const token = newToken();
      const session = await agent.spawn('sh', [
        '-c',
        `cat /proc/self/cgroup; exec ${escape} heavy ${token} 1024`,
      ]);
      const output = new Transcript(session.stdout);
      const [, leaf] = await output.until(/^0::(.*)$/m);
      await output.until('ready');
      const late = spawn(escape, ['wait', token]);
      const ended = once(late, 'exit');
      const killed = session.killTree();
      while (!isDying(session.pid)) await agent.ping();
      writeFileSync(`${cgroupMount()}${leaf}/cgroup.procs`, String(late.pid));
      await killed;
      t.strictSame((await ended)[1], 'SIGKILL');
      t.strictSame(bearersOf(token), []);
    });
  }

  await t.test('what outlived its leader is counted, and killed by the session all the same', async (t) => {
    const token = newToken();
    const session = await agent.spawn('sh', ['-c', `${escape} daemon ${token}; ${escape} orphan ${token}`]);
    t.match(await session.exited, { code: 0, survivors: 2 });
    t.equal(bearersOf(token).length, 2);
    const { processes } = await session.members();
    t.strictSame(
      processes.map(({ pid }) => pid).sort((a, b) => a - b),
      bearersOf(token),
    );
    await session.killTree();
    t.strictSame(bearersOf(token), []);
    await t.rejects(session.members(), { code: 'session_ended' });
    await session.killTree();
    t.pass('again is no error');
  });

  await t.test('a command without survivors says so', async (t) => {
    t.match((await agent.exec('sh', ['-c', '(:) & wait'])).exit, { survivors: 0 });
  });

  await t.test('a timeout, an abort and a disposal end the whole tree', async (t) => {
    const command = (token: string): string => `${escape} daemon ${token}; exec ${escape} wait ${token}`;
    const late = newToken();
    const { exit } = await agent.exec('sh', ['-c', command(late)], { timeoutMs: 300, killGraceMs: 50 });
    t.match(exit, { timedOut: true });
    while (bearersOf(late).length > 0) await agent.ping();

    const given = newToken();
    const controller = new AbortController();
    const aborted = agent.exec('sh', ['-c', command(given)], { signal: controller.signal });
    while (bearersOf(given).length < 2) await agent.ping();
    controller.abort();
    await t.rejects(aborted, { code: 'aborted' });
    while (bearersOf(given).length > 0) await agent.ping();

    const disposed = newToken();
    {
      await using session = await agent.spawn('sh', ['-c', `${escape} orphan ${disposed}`]);
      await session.exited;
    }
    t.strictSame(bearersOf(disposed), [], 'though its leader was gone');
  });

  await t.test('a signal to the tree reaches who left the group', async (t) => {
    const token = newToken();
    await using session = await agent.spawn('sh', [
      '-c',
      `${escape} daemon ${token}; echo ready; exec sleep 60`,
    ]);
    await new Transcript(session.stdout).until('ready');
    await session.signal('SIGTERM', { target: 'tree' });
    t.match(await session.exited, { signal: 'SIGTERM', killedBy: 'request' });
    while (bearersOf(token).length > 0) await agent.ping();
    t.pass('the daemon died of it too');
  });

  await t.test('who sheds every mark is known to the cgroup only', async (t) => {
    const token = newToken();
    const session = await agent.spawn('sh', ['-c', `${escape} bare ${token}`]);
    const { survivors } = await session.exited;
    await session.killTree();
    // Nobody has looked at the tree while its parents lived: after that there is nothing to find it by.
    t.equal(survivors, mode === 'cgroup' ? 1 : 0);
    t.equal(bearersOf(token).length, mode === 'cgroup' ? 0 : 1);
    for (const pid of bearersOf(token)) process.kill(pid, 'SIGKILL');

    const seen = newToken();
    const watched = await agent.spawn('sh', [
      '-c',
      `${escape} wait ${seen} & echo ready; read line; ${escape} bare ${seen}`,
    ]);
    await new Transcript(watched.stdout).until('ready');
    watched.stdin?.end('go\n');
    await watched.exited;
    await watched.killTree();
    t.equal(bearersOf(seen).length, mode === 'cgroup' ? 0 : 1, 'the others of its session are killed');
    for (const pid of bearersOf(seen)) process.kill(pid, 'SIGKILL');
  });
});

/** SIGKILL has come, and the process is not gone yet. */
function isDying(pid: number): boolean {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  const resident = /^VmRSS:\s+(\d+)/m.exec(status)?.[1];
  return !/^ShdPnd:\s+0+$/m.test(status) || resident === undefined;
}
