import { once } from 'node:events';
import type { SessionInfo } from '@hawser/host-client';
import t from 'tap';
import { overEachMode } from '../containment/world.js';
import { eventually, isAlive, Transcript } from '../semantics/lines.js';
import { startAgent } from '../support/agentd.js';

/** By their labels: ids are another word each time. */
const names = (sessions: readonly SessionInfo[]): (string | undefined)[] =>
  sessions.map(({ labels }) => labels['name']);

overEachMode(async (t, { agent, mode }) => {
  await t.test('a session is known from its start to after its end', async (t) => {
    const session = await agent.spawn('sh', ['-c', 'read line; echo "got $line"; exit 3', 'and', 'more'], {
      labels: { name: 'known', kind: 'test' },
      cwd: '/tmp',
      user: '1000:1000',
    });
    const live = await agent.sessions.get(session.id);
    t.match(live, {
      id: session.id,
      pid: session.pid,
      command: ['sh', '-c', 'read line; echo "got $line"; exit 3', 'and', 'more'],
      commandCut: false,
      labels: { name: 'known', kind: 'test' },
      user: '1000:1000',
      uid: 1000,
      gid: 1000,
      cwd: '/tmp',
      tty: false,
      detached: false,
      surviveAgent: false,
      state: 'running',
      hosts: 1,
      stdout: { bytes: 0, dropped: 0, start: 0 },
    });
    t.equal(live.endedAt, null);
    t.equal(live.exit, null);
    t.ok(Number(live.startedAt) <= Date.now());
    t.match(live.stats, { processes: 1, confidence: mode === 'cgroup' ? 'exact' : 'best_effort' });
    t.ok((live.stats?.memoryBytes ?? 0) > 0);
    session.stdin?.end('it\n');
    session.stdout.resume();
    session.stderr?.resume();
    await session.closed;
    const ended = await agent.sessions.get(session.id);
    t.match(ended, {
      id: session.id,
      generation: live.generation,
      pid: session.pid,
      state: 'exited',
      stdinBytes: 3,
      stdout: { bytes: 7, dropped: 0 },
      exit: { code: 3, signal: null, outputComplete: true },
    });
    t.equal(ended.stats, null);
    t.ok(Number(ended.endedAt) >= Number(live.startedAt));
  });

  await t.test('states: running, exited and signaled', async (t) => {
    await using running = await agent.spawn('sleep', ['60'], {
      labels: { group: 'states', name: 'running' },
    });
    await agent.exec('false', [], { labels: { group: 'states', name: 'exited' } });
    await agent.exec('sh', ['-c', 'kill -9 $$'], { labels: { group: 'states', name: 'signaled' } });
    const labels = { group: 'states' };
    t.strictSame(names(await agent.sessions.list({ labels })), ['running', 'exited', 'signaled']);
    for (const state of ['running', 'exited', 'signaled'] as const)
      t.strictSame(names(await agent.sessions.list({ labels, states: [state] })), [state]);
    t.strictSame(names(await agent.sessions.list({ labels: { ...labels, name: 'exited' } })), ['exited']);
    t.strictSame(await agent.sessions.list({ labels: { group: 'another' } }), []);
    const [exited] = await agent.sessions.list({ labels: { name: 'exited' } });
    t.match(exited, { exit: { code: 1 } });
    const [signaled] = await agent.sessions.list({ labels: { name: 'signaled' } });
    t.match(signaled, { exit: { code: null, signal: 'SIGKILL' } });
    t.equal(running.id, (await agent.sessions.list({ labels, states: ['running'], stats: true }))[0]?.id);
  });

  await t.test('a wait ends with the leader, for everybody and again', async (t) => {
    const session = await agent.spawn('sh', ['-c', 'read line; exit 5']);
    await t.rejects(agent.sessions.wait(session.id, { timeoutMs: 50 }), {
      code: 'timed_out',
      message: /still runs after 50 ms/,
    });
    const waits = [agent.sessions.wait(session.id), agent.sessions.wait(session.id, { timeoutMs: 600_000 })];
    session.stdin?.end('go\n');
    for (const info of await Promise.all(waits)) t.match(info, { state: 'exited', exit: { code: 5 } });
    t.match(await agent.sessions.wait(session.id), { exit: { code: 5 } });
    t.match(await agent.sessions.wait(session.id, { timeoutMs: 0 }), { exit: { code: 5 } });
  });

  await t.test('a signal by the id', async (t) => {
    const session = await agent.spawn('sleep', ['60']);
    await agent.sessions.signal(session.id, 'TERM', { target: 'leader' });
    t.match(await agent.sessions.wait(session.id), { state: 'signaled', exit: { signal: 'SIGTERM' } });
    await t.rejects(agent.sessions.signal(session.id, 'TERM'), { code: 'session_ended' });
    await t.rejects(agent.sessions.signal('nobody-1', 'TERM'), { code: 'unknown_session' });
    await t.rejects(agent.sessions.signal(session.id, 'SIGNONSENSE'), { code: 'session_ended' });
  });

  await t.test('only what has ended wholly is removed', async (t) => {
    const session = await agent.spawn('sh', ['-c', '(sleep 60 >/dev/null 2>&1 &) ; read line']);
    await t.rejects(agent.sessions.remove(session.id), {
      code: 'session_running',
      message: /is running: kill its tree first/,
    });
    session.stdin?.end('\n');
    t.match(await session.exited, { survivors: 1 });
    await t.rejects(agent.sessions.remove(session.id), {
      code: 'session_running',
      message: /has ended, but 1 of it live/,
    });
    await agent.sessions.killTree(session.id);
    await agent.sessions.remove(session.id);
    for (const call of [
      agent.sessions.get(session.id),
      agent.sessions.wait(session.id),
      agent.sessions.output(session.id),
      agent.sessions.remove(session.id),
      agent.attach(session.id),
      agent.sessions.allStats({ sessionId: session.id }),
    ] as Promise<unknown>[])
      await t.rejects(call as Promise<void>, { code: 'unknown_session' });
    t.strictSame(
      (await agent.sessions.list()).filter(({ id }) => id === session.id),
      [],
    );
  });

  await t.test('statistics of one and of all, once and at an interval', async (t) => {
    await using busy = await agent.spawn('sh', ['-c', 'while :; do :; done'], { labels: { load: 'yes' } });
    await using idle = await agent.spawn('sleep', ['60']);
    const all = await agent.sessions.allStats();
    t.same(
      all.sessions.map(({ id }) => id).filter((id) => id === busy.id || id === idle.id),
      [busy.id, idle.id],
    );
    t.equal(all.omitted, 0);
    t.match(await agent.sessions.stats(idle.id), { processes: 1 });
    t.strictSame(
      (await agent.sessions.allStats({ labels: { load: 'yes' } })).sessions.map(({ id }) => id),
      [busy.id],
    );
    const cpu: number[] = [];
    for await (const { sessions } of agent.sessions.watchStats({ intervalMs: 100, sessionId: busy.id })) {
      t.strictSame(
        sessions.map(({ id }) => id),
        [busy.id],
      );
      cpu.push((sessions[0]?.cpuUserUs ?? 0) + (sessions[0]?.cpuSystemUs ?? 0));
      if (cpu.length > 1 && (cpu.at(-1) as number) > (cpu[0] as number)) break;
    }
    t.ok(cpu.length > 1, 'it uses more and more');
    await busy.kill();
    await busy.exited;
    const watched = async (): Promise<void> => {
      for await (const _ of agent.sessions.watchStats({ intervalMs: 100, sessionId: idle.id }))
        await idle.kill();
    };
    await t.rejects(watched(), { code: 'session_ended' }, 'a series of one ends with it');
    for (const intervalMs of [99, 3_600_001]) {
      const series = agent.sessions.watchStats({ intervalMs })[Symbol.asyncIterator]();
      await t.rejects(series.next(), { code: 'invalid_argument', message: /intervalMs/ });
    }
  });

  await t.test('a series ends when its reader leaves, and its signal ends it', async (t) => {
    const controller = new AbortController();
    let samples = 0;
    for await (const _ of agent.sessions.watchStats({ intervalMs: 100, signal: controller.signal })) {
      samples++;
      controller.abort();
    }
    t.equal(samples, 1);
    // Sixteen may run at once: more than that one after the other show that each has ended.
    for (let i = 0; i < 20; i++)
      for await (const { omitted } of agent.sessions.watchStats({ intervalMs: 3_600_000 })) {
        if (omitted === 0) break;
      }
    const open = Array.from({ length: 17 }, () =>
      agent.sessions.watchStats({ intervalMs: 3_600_000 })[Symbol.asyncIterator](),
    );
    for (const series of open.slice(0, 16)) t.equal((await series.next()).done, false);
    await t.rejects((open[16] as AsyncIterator<unknown>).next(), { code: 'limit_exceeded' });
    for (const series of open) await series.return?.();
  });
});

t.test('a list comes in pages, by age', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  for (let i = 0; i < 25; i++) await agent.exec('true', [], { labels: { name: `n${i}` } });
  const wanted = Array.from({ length: 25 }, (_, i) => `n${i}`);
  t.strictSame(names(await agent.sessions.list()), wanted);
  const pages: (string | undefined)[][] = [];
  let after: number | undefined;
  do {
    const page = await agent.sessions.listPage({ after, limit: 10 });
    pages.push(names(page.sessions));
    after = page.next;
  } while (after !== undefined);
  t.strictSame(pages, [wanted.slice(0, 10), wanted.slice(10, 20), wanted.slice(20)]);
  t.strictSame(
    (await agent.sessions.listPage({ limit: 25 })).next,
    undefined,
    'a page that is just full is the last',
  );
});

t.test('what one message does not hold comes with the next page', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  const big = { labels: { padding: 'x'.repeat(16_000) } };
  const count = 240;
  await Promise.all(Array.from({ length: count }, () => agent.exec('true', ['x'.repeat(4000)], big)));
  const { sessions, next } = await agent.sessions.listPage({ limit: 1000 });
  t.ok(sessions.length > 0 && sessions.length < count, `${sessions.length} of ${count}`);
  t.type(next, 'number');
  t.equal((await agent.sessions.list()).length, count);
});

t.test('those that have ended are known up to a number', async (t) => {
  await using agentd = await startAgent({ args: ['--kept-sessions-max', '3'] });
  await using agent = await agentd.connect();
  await using running = await agent.spawn('sleep', ['60'], { labels: { name: 'running' } });
  for (let i = 0; i < 5; i++) await agent.exec('true', [], { labels: { name: `n${i}` } });
  const detached = await agent.spawn('echo', ['kept'], { detached: true, labels: { name: 'detached' } });
  await detached.detach();
  await agent.sessions.wait(detached.id);
  // The last word on a command's output may still be on its way to the agent.
  let known: (string | undefined)[];
  do known = names(await agent.sessions.list());
  while (known.length > 4);
  t.strictSame(known, ['running', 'n3', 'n4', 'detached']);
  t.equal((await agent.sessions.get(running.id)).state, 'running');
});

t.test('and for a time, as is their output', async (t) => {
  await using agentd = await startAgent({ args: ['--kept-session-ms', '100'] });
  await using agent = await agentd.connect();
  await using running = await agent.spawn('sleep', ['60'], { labels: { name: 'running' } });
  await agent.exec('true');
  const detached = await agent.spawn('echo', ['kept'], { detached: true });
  await detached.detach();
  let known: (string | undefined)[];
  do known = names(await agent.sessions.list());
  while (known.length > 1);
  t.strictSame(known, ['running']);
  await t.rejects(agent.attach(detached.id), { code: 'unknown_session' });
  t.equal((await agent.sessions.get(running.id)).state, 'running');
});

t.test('only those that run count against sessionsMax', async (t) => {
  await using agentd = await startAgent({ args: ['--sessions-max', '2'] });
  await using agent = await agentd.connect();
  for (let i = 0; i < 5; i++) await agent.exec('true');
  const first = await agent.spawn('cat');
  await using second = await agent.spawn('cat');
  await t.rejects(agent.exec('true'), { code: 'too_many_sessions', message: /2 sessions are running/ });
  t.equal((await agent.sessions.list()).length, 7, 'which a list shows');
  first.stdin?.end();
  await agent.sessions.wait(first.id);
  t.equal((await agent.exec('true')).code, 0);
  t.equal((await agent.sessions.get(second.id)).state, 'running');
});

t.test('a long command line is cut, and names that are too long are refused', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  await agent.exec('true', ['a', 'x'.repeat(100_000), 'b'], { labels: { name: 'long' } });
  const [long] = await agent.sessions.list();
  t.equal(long?.commandCut, true);
  t.strictSame(long?.command.slice(0, 2), ['true', 'a']);
  t.ok(JSON.stringify(long?.command).length < 4200);
  const many = Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`label${i}`, '']));
  await t.rejects(agent.exec('true', [], { labels: many }), {
    code: 'invalid_argument',
    message: /65 labels/,
  });
  await t.rejects(agent.exec('true', [], { labels: { long: 'x'.repeat(20_000) } }), {
    code: 'invalid_argument',
    message: /labels of 20004 bytes/,
  });
  await t.rejects(agent.exec('true', [], { key: 'x'.repeat(1025) }), {
    code: 'invalid_argument',
    message: /a key of 1025/,
  });
});

t.test('a session of another host is known, and can be waited for from there', async (t) => {
  await using agentd = await startAgent();
  await using one = await agentd.connect();
  await using other = await agentd.connect();
  await using session = await one.spawn('sh', ['-c', 'read line'], { labels: { name: 'of one' } });
  t.strictSame(names(await other.sessions.list()), ['of one']);
  t.match(await other.sessions.members(session.id), { processes: [{ pid: session.pid }] });
  const wait = other.sessions.wait(session.id);
  session.stdin?.end('\n');
  t.match(await wait, { state: 'exited' });
});

t.test('a wait goes on when the line was lost, and a host that has gone is waited for no more', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  const session = await agent.spawn('sh', ['-c', 'echo ready; read line'], { detached: true });
  await new Transcript(session.stdout).until('ready');
  {
    await using gone = await agentd.connect();
    gone.sessions.wait(session.id).catch(() => {});
    await gone.info();
  }
  session.stdin?.end('\n');
  t.match(await agent.sessions.wait(session.id), { exit: { code: 0 } });
});

t.test('a session that is starting is known', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  const session = agent.spawn('true', [], { labels: { name: 'soon' } });
  // Requests overtake nothing: the agent has begun with it.
  const [seen] = await agent.sessions.list();
  t.match(seen, { labels: { name: 'soon' } });
  t.match(seen?.state, /^(starting|running|exited)$/);
  const { exited } = await session;
  await exited;
});

t.test(
  'the processes of a session that asked for it survive the agent, whether it is ended or killed',
  async (t) => {
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      const agentd = await startAgent();
      const agent = await agentd.connect();
      const stays = await agent.spawn('sleep', ['6000'], { detached: true, surviveAgent: true });
      const goes = await agent.spawn('sleep', ['6000'], { detached: true });
      t.equal((await agent.sessions.get(stays.id)).surviveAgent, true);
      const exited = once(agentd.child, 'exit');
      agentd.child.kill(signal);
      await exited;
      await eventually(() => !isAlive(goes.pid));
      t.ok(isAlive(stays.pid), `after ${signal}`);
      process.kill(stays.pid, 'SIGKILL');
      await agent.close();
      await agentd[Symbol.asyncDispose]();
    }
  },
);

t.test('only a detached command survives the agent', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  await t.rejects(agent.exec('true', [], { surviveAgent: true }), {
    code: 'invalid_argument',
    message: /surviveAgent is for a detached command only/,
  });
});
