import { once } from 'node:events';
import type { Session } from '@hawser/host-client';
import { HawserError } from '@hawser/host-client';
import t from 'tap';
import { Transcript } from '../semantics/lines.js';
import { startAgent } from '../support/agentd.js';

const KiB = 1024;
const MiB = 1024 * KiB;

t.test('the end of stdin is taken before a detachment', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  for (const bytes of [0, 1, 3 * MiB]) {
    const session = await agent.spawn('sh', ['-c', 'sleep 0.05; wc -c']);
    session.stdin?.end(Buffer.alloc(bytes, 'x'));
    await session.detach();
    const back = await agent.attach(session.id, { from: 'start' });
    t.equal(await new Transcript(back.stdout).rest(), `${bytes}\n`);
    t.match(await back.exited, { code: 0 });
  }
});

t.test('the end of stdin that waits for a line which is full is taken, too', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  const busy = await agent.spawn('sh', ['-c', 'cat >/dev/null']);
  // A child that reads quickly is sent more at once than the line holds.
  for (let sent = 0; sent < 8 * MiB; sent += MiB) busy.stdin?.write(Buffer.alloc(MiB));
  await drained(busy);
  const sessions = await Promise.all([{}, { tty: true }].map((options) => agent.spawn('cat', [], options)));
  for (const session of sessions) {
    session.stdin?.write('line\n');
    await new Transcript(session.stdout).until('line');
  }
  process.kill(agentd.pid, 'SIGSTOP');
  busy.stdin?.write(Buffer.alloc(4 * MiB));
  await new Promise((resolve) => setImmediate(resolve));
  const left = sessions.map((session) => {
    session.stdin?.end();
    return session.detach();
  });
  await new Promise((resolve) => setImmediate(resolve));
  process.kill(agentd.pid, 'SIGCONT');
  await Promise.all(left);
  for (const { id } of sessions) {
    const back = await agent.attach(id);
    t.match(await back.exited, { code: 0 });
  }
});

async function drained({ stdin }: Session): Promise<void> {
  if (stdin?.writableNeedDrain === true) await once(stdin, 'drain');
}

t.test('a session whose end has been heard is left at once', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  const session = await agent.spawn('echo', ['all of it']);
  t.equal(await new Transcript(session.stdout).rest(), 'all of it\n');
  session.stderr?.resume();
  await session.closed;
  await session.detach();
  await session.detach();
  t.match(await session.exited, { code: 0 });
});

t.test('a command that ends while its host is leaving holds nobody up', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  // What is written is more than the command and its pipe take: the host leaves when it is over, and not before.
  for (let i = 0; i < 10; i++) {
    const session = await agent.spawn('sh', ['-c', 'head -c 1 >/dev/null; echo bye'], {});
    const output = new Transcript(session.stdout);
    session.stderr?.resume();
    session.stdin?.write(Buffer.alloc(3 * MiB));
    const left = session.detach();
    if (i % 2 === 0) t.equal(await output.rest(), 'bye\n');
    await left;
  }
  t.equal((await agent.exec('echo', ['here'])).stdout, 'here\n');
});

t.test('a detachment that meets the exit on its way holds nobody up', async (t) => {
  await using agentd = await startAgent();
  await using agent = await agentd.connect();
  for (let i = 0; i < 50; i++) {
    const session = await agent.spawn('true');
    session.stdout.resume();
    session.stderr?.resume();
    await session.detach();
  }
  t.equal((await agent.exec('echo', ['here'])).stdout, 'here\n');
});

/** Writers that come and go, and leave what the command does not read. @returns the refusal, and the bytes taken. */
async function takeOver(attach: () => Promise<Session>): Promise<{ refusal: unknown; taken: number }> {
  let taken = 0;
  for (;;) {
    let writer: Session;
    try {
      writer = await attach();
    } catch (refusal) {
      return { refusal, taken };
    }
    writer.stdin?.write(Buffer.alloc(32 * KiB, 'x'));
    await writer.detach();
    taken = (writer.stdinFrom ?? 0) + 32 * KiB;
    if (taken > 4 * MiB) return { refusal: undefined, taken };
  }
}

t.test(
  'hosts that take over an input that is not read fill the agent’s memory up to its limit',
  async (t) => {
    await using agentd = await startAgent();
    await using agent = await agentd.connect();
    const session = await agent.spawn('sh', ['-c', 'kill -STOP $$; wc -c']);
    const { refusal, taken } = await takeOver(() => agent.attach(session.id, { stdin: true }));
    t.match(refusal, { code: 'limit_exceeded', message: /windowBytes/ });
    t.ok(taken >= MiB && taken <= 2 * MiB, `${taken} bytes were taken`);
    await session.signal('SIGCONT', { target: 'leader' });
    // When it has read, there is room again.
    const writer = await untilAttached(() => agent.attach(session.id, { stdin: true, from: 'start' }));
    t.equal(writer.stdinFrom, taken, 'nothing was lost');
    writer.stdin?.end('x');
    t.equal(await new Transcript(writer.stdout).rest(), `${taken + 1}\n`);
  },
);

async function untilAttached(attach: () => Promise<Session>): Promise<Session> {
  for (;;) {
    try {
      return await attach();
    } catch (error) {
      if (!(error instanceof HawserError) || error.code !== 'limit_exceeded') throw error;
    }
  }
}
