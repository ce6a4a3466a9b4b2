import { once } from 'node:events';
import { type Agent, connect, type Session } from '@hawser/host-client';
import t from 'tap';
import { eventually, Transcript } from '../semantics/lines.js';
import { startAgent } from '../support/agentd.js';

const MiB = 1024 * 1024;

async function text(session: Session): Promise<string> {
  session.stderr?.resume();
  let all = '';
  for await (const chunk of session.stdout) all += String(chunk);
  return all;
}

/** What was dropped of an output, as its reader is told. */
function gapsOf(session: Session): { from: number; to: number }[] {
  const gaps: { from: number; to: number }[] = [];
  session.stdout.on('gap', (gap: { from: number; to: number }) => gaps.push(gap));
  return gaps;
}

/** The guest tells when a process is gone, by a command that looks for it. */
async function gone(agent: Agent, pid: number): Promise<void> {
  await agent.exec('sh', ['-c', 'while kill -0 "$0" 2>/dev/null; do sleep 0.02; done', String(pid)]);
}

t.test('a session that was left goes on, and whoever attaches gets what it wrote', async (t) => {
  await using agentd = await startAgent();
  let id: string;
  let pid: number;
  {
    await using agent = await agentd.connect();
    const session = await agent.spawn('sh', ['-c', 'echo one; read line; echo "got $line"; exit 7'], {
      detached: true,
    });
    const output = new Transcript(session.stdout);
    await output.until('one\n');
    ({ id, pid } = session);
    await session.detach();
    await t.rejects(session.exited, { code: 'detached' });
    await t.rejects(session.signal('SIGTERM'), { code: 'detached' });
    t.equal((await agent.exec('kill', ['-0', String(pid)])).code, 0, 'it lives');
  }
  await using agent = await agentd.connect();
  const back = await agent.attach(id, { from: 'start', stdin: true });
  t.equal(back.pid, pid);
  t.equal(back.stdinFrom, 0);
  back.stdin?.end('hello\n');
  t.equal(await text(back), 'one\ngot hello\n');
  t.match(await back.exited, { code: 7, stdout: { bytes: 14, dropped: 0 }, outputComplete: true });
  await back.closed;
  const later = await agent.attach(id, { from: 'start' });
  t.equal(await text(later), 'one\ngot hello\n', 'and once more, when it has ended');
  t.match(await later.exited, { code: 7 });
  t.equal(await text(await agent.attach(id)), '', 'or only what comes, which is nothing');
  await t.rejects(agent.attach('nobody-1'), { code: 'unknown_session', message: /"nobody-1"/ });
});

t.test('what was written before a detachment is taken', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  for (const bytes of [1, 1000, 3 * MiB]) {
    const session = await agent.spawn('sh', ['-c', 'sleep 0.05; head -c "$0" | wc -c; cat', String(bytes)]);
    session.stdin?.write(Buffer.alloc(bytes, 'x'));
    await session.detach();
    const back = await agent.attach(session.id, { from: 'start', stdin: true });
    t.equal(back.stdinFrom, bytes);
    back.stdin?.end('the rest');
    t.equal(await text(back), `${bytes}\nthe rest`);
  }
});

t.test('who comes to write when stdin is over is told', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  const ends = await agent.spawn('sh', ['-c', 'cat >/dev/null; sleep 60'], { detached: true });
  ends.stdin?.end('all of it');
  await ends.detach();
  const closes = await agent.spawn('sh', ['-c', 'exec <&-; echo closed; sleep 60'], { detached: true });
  await new Transcript(closes.stdout).until('closed');
  const refused = once(closes.stdin as NonNullable<typeof closes.stdin>, 'error');
  closes.stdin?.write('more');
  t.match(await refused, [{ code: 'stdin_closed' }]);
  for (const { id } of [ends, closes]) {
    const back = await agent.attach(id, { stdin: true, from: 'none' });
    const stdin = back.stdin as NonNullable<typeof back.stdin>;
    // It may have been told before the attachment was.
    const told = stdin.errored ?? ((await once(stdin, 'error')) as unknown[])[0];
    t.match(told, { code: 'stdin_closed', errno: 'EPIPE' });
    await back.kill();
  }
});

t.test('several read, one writes, and the next writer takes over', async (t) => {
  await using agentd = await startAgent();
  await using first = await agentd.connect();
  await using second = await agentd.connect();
  const session = await first.spawn('cat');
  const heard = new Transcript(session.stdout);
  session.stdin?.write('from the first\n');
  await heard.until('from the first\n');
  const reader = await second.attach(session.id, { from: 'start' });
  t.equal(reader.stdin, null);
  const heardToo = new Transcript(reader.stdout);
  const writer = await second.attach(session.id, { stdin: true });
  t.equal(writer.stdinFrom, 15);
  const taken = once(session.stdin!, 'error');
  writer.stdin?.write('from the second\n');
  await heard.until('from the second\n');
  await heardToo.until('from the second\n');
  t.match(await taken, [{ code: 'stdin_taken', message: /after 15 bytes/ }]);
  session.stdin?.write('nobody hears this\n', () => {});
  writer.stdin?.end();
  t.equal(await heard.rest(), '');
  t.equal(await heardToo.rest(), '');
  for (const one of [session, reader, writer]) t.match(await one.exited, { code: 0 });
});

t.test(
  'a detached command loses its oldest output when nobody reads, and whoever comes is told',
  async (t) => {
    await using agentd = await startAgent();
    await using agent = await agentd.connect();
    const lines = 400_000;
    const session = await agent.spawn('seq', ['1', String(lines)], { detached: true, stdin: 'null' });
    await session.detach();
    await gone(agent, session.pid);
    const back = await agent.attach(session.id, { from: { stdout: 0, stderr: 0 } });
    const gaps = gapsOf(back);
    const output = await text(back);
    const { stdout } = await back.exited;
    const whole = Array.from({ length: lines }, (_, i) => `${i + 1}\n`).join('');
    t.equal(stdout.bytes, whole.length);
    t.equal(gaps.length, 1);
    t.equal(gaps[0]?.from, 0);
    t.equal(output, whole.slice(gaps[0]?.to), 'what came is what was written from there on');
    t.equal(stdout.dropped, gaps[0]?.to);
    t.ok(output.length > MiB / 2, `${output.length} bytes were kept`);
  },
);

t.test('a loss of which nobody wants to hear is an error', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  const session = await agent.spawn('seq', ['1', '400000'], { detached: true, stdin: 'null' });
  await session.detach();
  await gone(agent, session.pid);
  const back = await agent.attach(session.id, { from: { stdout: 0 } });
  await t.rejects(text(back), { code: 'output_mismatch', message: /^bytes 0 to \d+ were dropped/ });
  await t.rejects(agent.exec('seq', ['1', '400000'], { key: 'again', detached: true, maxBufferBytes: 1 }), {
    code: 'max_buffer',
  });
});

t.test('one that was told to block waits, and loses nothing', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  const session = await agent.spawn('head', ['-c', String(8 * MiB), '/dev/zero'], {
    detached: true,
    whenFull: 'block',
    stdin: 'null',
  });
  await session.detach();
  const back = await agent.attach(session.id, { from: 'start' });
  const gaps = gapsOf(back);
  t.equal((await text(back)).length, 8 * MiB);
  t.strictSame(gaps, []);
  t.match(await back.exited, { code: 0, stdout: { bytes: 8 * MiB, dropped: 0 } });
});

t.test('what was read is kept as far as was asked for', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  const session = await agent.spawn('sh', ['-c', 'seq 1 500000; read x'], { historyBytes: 100_000 });
  const output = new Transcript(session.stdout);
  await output.until('\n500000\n');
  const back = await agent.attach(session.id, { from: 'start' });
  const gaps = gapsOf(back);
  session.stdin?.end();
  const kept = await text(back);
  t.strictSame(gaps, [], 'it begins with what is kept');
  // The host tells in steps of half a window what it has consumed.
  t.ok(kept.length >= 100_000 && kept.length < 2 * MiB, `${kept.length} bytes`);
  t.ok(kept.endsWith('499999\n500000\n'));
  t.match(await session.exited, { stdout: { bytes: 3_388_895, dropped: 0 } }, 'which is no loss');
});

t.test('the same key is the same session', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  const options = { key: 'once', historyBytes: MiB, input: 'input\n' };
  const script = 'echo $$; cat; sleep 0.1';
  const [one, two] = await Promise.all([
    agent.exec('sh', ['-c', script], options),
    agent.exec('sh', ['-c', script], options),
  ]);
  t.equal(one.stdout, two.stdout);
  t.match(one.stdout, /^\d+\ninput\n$/, 'and its input is read once');
  await using other = await agentd.connect();
  t.equal(
    (await other.exec('sh', ['-c', script], options)).stdout,
    one.stdout,
    'also for another host, later',
  );
  t.not((await agent.exec('sh', ['-c', script], { ...options, key: 'twice' })).stdout, one.stdout);
  await t.rejects(agent.exec('no-such-command', [], { key: 'fails' }), { code: 'not_found' });
  t.equal(
    (await agent.exec('echo', ['now'], { key: 'fails' })).stdout,
    'now\n',
    'what never ran is not kept',
  );
});

t.test('a session whose host is gone goes as it was to', async (t) => {
  await using agentd = await startAgent();
  await using watcher = await agentd.connect();
  const start = async (options: object): Promise<Session> => {
    const agent = await connect(agentd.line);
    const session = await agent.spawn(
      'sh',
      ['-c', 'trap "exit 3" TERM; echo ready; while :; do sleep 0.02; done'],
      {
        ...options,
        key: JSON.stringify(options),
      },
    );
    await new Transcript(session.stdout).until('ready\n');
    await agent.close();
    return session;
  };
  const plain = await start({});
  await gone(watcher, plain.pid);
  t.match(await (await watcher.attach(plain.id)).exited, { code: 3, killedBy: 'disconnect' });

  const killed = await start({ onDisconnect: { action: 'kill' } });
  await gone(watcher, killed.pid);
  t.match(await (await watcher.attach(killed.id)).exited, { signal: 'SIGKILL', killedBy: 'disconnect' });

  const kept = await start({ onDisconnect: { action: 'keep' } });
  const later = await start({ onDisconnect: { action: 'terminate', afterMs: 60_000 } });
  await eventually(() => agentd.log().split('a host is gone').length - 1 === 4);
  for (const { id } of [kept, later]) {
    const back = await watcher.attach(id);
    await back.signal('SIGKILL');
    t.match(await back.exited, { signal: 'SIGKILL', killedBy: 'request' }, 'it was still there');
  }
});

t.test('whoever only writes reads nothing, and holds nothing up', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  const session = await agent.spawn(
    'sh',
    ['-c', 'read -r go; head -c 5000000 /dev/zero; echo "$go"; exit 5'],
    {
      detached: true,
    },
  );
  await session.detach();
  const writer = await agent.attach(session.id, { stdin: true, from: 'none' });
  t.equal(await text(writer), '', 'its output ends at once');
  writer.stdin?.end('ahoy\n');
  t.match(await writer.exited, { code: 5, stdout: { bytes: 5_000_005 } }, 'a full output does not stop it');
  await writer.closed;
  t.match(await text(await agent.attach(session.id, { from: 'start' })), /ahoy\n$/, 'all of it is history');
});
