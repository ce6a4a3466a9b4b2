import { finished } from 'node:stream/promises';
import type { Agent, OutputOptions, Session, SessionOutput } from '@hawser/host-client';
import t from 'tap';
import { eventually, Transcript } from '../semantics/lines.js';
import { startAgent } from '../support/agentd.js';

const MiB = 1024 * 1024;

interface Read {
  readonly stdout: string;
  readonly stderr: string;
  readonly gaps: readonly { readonly of: string; readonly from: number; readonly to: number }[];
}

/** Everything that comes, to the end. */
async function readAll(output: SessionOutput): Promise<Read> {
  const read = { stdout: '', stderr: '' };
  const gaps: { of: string; from: number; to: number }[] = [];
  const ends: Promise<void>[] = [];
  for (const name of ['stdout', 'stderr'] as const) {
    output[name]
      ?.on('gap', ({ from, to }: { from: number; to: number }) => gaps.push({ of: name, from, to }))
      .on('data', (bytes: Buffer) => (read[name] += bytes.toString('latin1')));
    if (output[name] !== null) ends.push(finished(output[name]));
  }
  await Promise.all([...ends, output.ended]);
  return { ...read, gaps };
}

async function outputOf(agent: Agent, { id }: Session, options?: OutputOptions): Promise<Read> {
  return readAll(await agent.sessions.output(id, options));
}

t.test('an observer reads what is kept, from where it likes, now or to the end', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  const session = await agent.spawn('sh', ['-c', 'echo one; echo err >&2; read line; echo two'], {
    detached: true,
  });
  await new Transcript(session.stdout).until('one\n');
  session.stderr?.resume();
  await eventually(() => session.stderr !== null);
  let known = await agent.sessions.get(session.id);
  while (known.stderr?.bytes !== 4) known = await agent.sessions.get(session.id);
  t.strictSame(await outputOf(agent, session, { follow: false }), {
    stdout: 'one\n',
    stderr: 'err\n',
    gaps: [],
  });
  t.strictSame(await outputOf(agent, session, { follow: false, from: { stdout: 2, stderr: 'none' } }), {
    stdout: 'e\n',
    stderr: '',
    gaps: [],
  });
  t.strictSame(await outputOf(agent, session, { follow: false, from: 'end' }), {
    stdout: '',
    stderr: '',
    gaps: [],
  });
  t.strictSame(await outputOf(agent, session, { follow: false, from: 100 }), {
    stdout: '',
    stderr: '',
    gaps: [],
  });
  const following = outputOf(agent, session);
  const fromNow = outputOf(agent, session, { from: 'end' });
  await agent.info();
  session.stdin?.end('\n');
  t.strictSame(await following, { stdout: 'one\ntwo\n', stderr: 'err\n', gaps: [] });
  t.strictSame(await fromNow, { stdout: 'two\n', stderr: '', gaps: [] });
  t.strictSame(await outputOf(agent, session, { follow: false }), {
    stdout: 'one\ntwo\n',
    stderr: 'err\n',
    gaps: [],
  });
});

t.test('a position and the outputs that there are, of a terminal too', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  const session = await agent.spawn('sh', ['-c', 'printf 12345; read line'], { tty: true, detached: true });
  await new Transcript(session.stdout).until('12345');
  await using output = await agent.sessions.output(session.id, { follow: false, from: 3 });
  t.equal(output.tty, true);
  t.equal(output.stderr, null);
  t.match(output.positions, { stdout: { from: 3, start: 0, end: 5 }, stderr: null });
  t.match(await readAll(output), { stdout: '45' });
  const nothing = await agent.sessions.output(session.id, { from: { stdout: 'none' } });
  await nothing.ended;
  t.equal(nothing.stdout, null);
  await session.kill();
});

t.test('an observer of an attached command gets all of it, though the host is quicker', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  await using observer = await agentd.connect();
  const session = await agent.spawn('sh', ['-c', 'read line; for i in 1 2 3 4 5 6 7 8 9; do echo $i; done']);
  const output = await observer.sessions.output(session.id);
  session.stdout.resume();
  session.stderr?.resume();
  session.stdin?.end('\n');
  await session.closed;
  t.strictSame(await readAll(output), { stdout: '1\n2\n3\n4\n5\n6\n7\n8\n9\n', stderr: '', gaps: [] });
  t.match(await agent.sessions.get(session.id), { state: 'exited', hosts: 0 });
});

t.test('an observer that does not read holds nothing up, and is told what it missed', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  await using observer = await agentd.connect();
  const bytes = 8 * MiB;
  const session = await agent.spawn('sh', ['-c', `read line; head -c ${bytes} /dev/zero`]);
  const output = await observer.sessions.output(session.id);
  let came = 0;
  session.stdout.on('data', (chunk: Buffer) => (came += chunk.length));
  session.stderr?.resume();
  session.stdin?.end('\n');
  t.match(await session.exited, { code: 0, stdout: { bytes, dropped: 0 } });
  await session.closed;
  t.equal(came, bytes);
  const { stdout, gaps } = await readAll(output);
  const missed = gaps.reduce((sum, { from, to }) => sum + to - from, 0);
  t.equal(stdout.length + missed, bytes);
  t.ok(missed > 0, `${missed} bytes were dropped for it`);
  while ((await agent.info()).spoolBytes > 0);
  t.pass('and nothing is left of it');
});

t.test('an observer is no host: the session ends with its last one', async (t) => {
  await using agentd = await startAgent();
  await using observer = await agentd.connect();
  const agent = await agentd.connect();
  const session = await agent.spawn('sh', ['-c', 'echo begun; exec sleep 6000']);
  await new Transcript(session.stdout).until('begun');
  await using output = await observer.sessions.output(session.id, { from: 'end' });
  t.match(await observer.sessions.get(session.id), { hosts: 1 });
  const read = readAll(output);
  await agent.close();
  t.match(await observer.sessions.wait(session.id), { exit: { signal: 'SIGTERM', killedBy: 'disconnect' } });
  t.match(await read, { stdout: '' });
});

t.test('output that was read, and that nobody asked to keep, is a gap', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  const { stdout } = await agent.exec('echo', ['gone']);
  t.equal(stdout, 'gone\n');
  const [ended] = await agent.sessions.list();
  const read = await readAll(await agent.sessions.output(ended?.id ?? ''));
  t.strictSame(read, { stdout: '', stderr: '', gaps: [{ of: 'stdout', from: 0, to: 5 }] });
  const attached = await agent.attach(ended?.id ?? '', { from: { stdout: 0 } });
  const gaps: unknown[] = [];
  attached.stdout.on('gap', (gap) => gaps.push(gap)).resume();
  attached.stderr?.resume();
  t.match(await attached.exited, { code: 0, stdout: { bytes: 5 } });
  await Promise.all([attached.closed, finished(attached.stdout)]);
  t.same(gaps, [{ from: 0, to: 5 }]);
  await t.rejects(attached.signal('TERM'), { code: 'session_ended' });
});

t.test('an observer may leave before the end', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  await using session = await agent.spawn('sh', ['-c', 'while :; do echo line; done'], { detached: true });
  session.stdout.resume();
  for (let i = 0; i < 50; i++) {
    const output = await agent.sessions.output(session.id, { from: 'end' });
    output.stdout?.once('data', () => {});
    await output.close();
    await output.ended;
  }
  t.equal((await agent.sessions.get(session.id)).state, 'running');
});

t.test('removal ends what observers read, and they are told', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  const session = await agent.spawn('head', ['-c', String(MiB), '/dev/zero'], { detached: true });
  await session.detach();
  await agent.sessions.wait(session.id);
  await using observer = await agentd.connect({ windowBytes: 64 * 1024 });
  const output = await observer.sessions.output(session.id);
  await agent.sessions.remove(session.id);
  const { stdout, gaps } = await readAll(output);
  t.equal(stdout.length + gaps.reduce((sum, { from, to }) => sum + to - from, 0), MiB);
  await t.rejects(agent.sessions.output(session.id), { code: 'unknown_session' });
});

t.test('who observes does not write, and who is attached follows', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  await t.rejects(agent.sessions.output('nobody-1'), { code: 'unknown_session', message: /"nobody-1"/ });
});
