import { PassThrough, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Agent, Session } from '@hawser/host-client';
import type { Test } from 'tap';
import t from 'tap';
import { type LineUnderTest, startAgent } from '../support/agentd.js';
import {
  compile,
  digest,
  each,
  GiB,
  KiB,
  localProgram,
  MiB,
  numbers,
  privateDirtyKiB,
  settled,
} from './world.js';

const program = compile(t, 'load-pattern');

/** How much is sent over which line: a pty pair carries a twentieth of a socket. */
const sizes: Record<
  LineUnderTest,
  { stream: number; bursts: number; terminalBursts: number; deafBytes: number; unread: number }
> = {
  unix: { stream: GiB, bursts: 10_000, terminalBursts: 2_000, deafBytes: 100 * MiB, unread: 150 },
  pty: { stream: 48 * MiB, bursts: 200, terminalBursts: 100, deafBytes: 8 * MiB, unread: 20 },
};

/** What the agent may have of its own at any moment here: its budget, and what its collector has not looked at yet. */
const privateDirtyKiBMax = 128 * KiB;

for (const line of ['unix', 'pty'] as const) {
  const size = sizes[line];
  t.test(`streams over ${line}`, async (t) => {
    await using running = await startAgent({ line });
    await using agent = await running.connect();

    await t.test(`${size.stream / MiB} MiB of output arrive as they were written`, async (t) => {
      const args = ['stream', '7', String(size.stream)];
      const session = await agent.spawn(program, args, { stdin: 'null' });
      const [came, wanted] = await Promise.all([
        digest(session.stdout),
        digest(localProgram(t, program, args).stdout),
      ]);
      t.same(came, wanted);
      t.equal(came.bytes, size.stream);
      const exit = await session.exited;
      t.match(exit, { code: 0, outputComplete: true, stdout: { bytes: size.stream, dropped: 0 } });
      await session.closed;
    });

    await t.test(`${size.stream / MiB} MiB of stdin arrive as they were sent`, async (t) => {
      const source = localProgram(t, program, ['stream', '8', String(size.stream)]).stdout;
      const session = await agent.spawn('sha256sum');
      const [wanted, result] = await Promise.all([sendAll(session, source), digestText(session)]);
      t.equal(result, wanted.sha256);
      t.equal(wanted.bytes, size.stream);
      t.equal((await session.exited).code, 0);
    });

    await t.test(`${size.stream / MiB} MiB go both ways at once through cat`, async (t) => {
      const source = localProgram(t, program, ['stream', '9', String(size.stream)]).stdout;
      const session = await agent.spawn('cat');
      const [wanted, came] = await Promise.all([sendAll(session, source), digest(session.stdout)]);
      t.same(came, wanted);
      t.equal(came.bytes, size.stream);
      t.equal((await session.exited).code, 0);
    });

    await t.test(`output of the same instant as the exit is never cut, ${size.bursts} times`, (t) =>
      bursts(t, agent, size.bursts, false),
    );
    await t.test(`nor in a terminal, ${size.terminalBursts} times`, (t) =>
      bursts(t, agent, size.terminalBursts, true),
    );

    await t.test('a child that never reads its stdin delays nothing else', async (t) => {
      const deaf = await agent.spawn('sleep', ['1000']);
      const sent = pipeline(Readable.from(chunks(size.deafBytes)), deaf.stdin as NodeJS.WritableStream);
      sent.catch(() => {});
      const victim = await agent.spawn('sleep', ['1000']);
      for (const i of numbers(50)) {
        await agent.ping();
        const { stdout } = await agent.exec('echo', [String(i)]);
        t.equal(stdout, `${i}\n`);
        await deaf.signal('SIGCONT');
      }
      await victim.signal('SIGTERM');
      t.equal((await victim.exited).signal, 'SIGTERM');
      await deaf.signal('SIGKILL');
      t.equal((await deaf.exited).signal, 'SIGKILL');
      await t.rejects(sent, { code: 'stdin_closed' }, 'what it did not read is told to be lost');
    });

    await t.test('a host that does not read one output holds up that child only', async (t) => {
      const length = 4 * MiB;
      const wanted = await digest(localProgram(t, program, ['stream', '5', String(length)]).stdout);
      const args = ['stream', '5', String(length)];
      const unread = await Promise.all(
        numbers(size.unread).map(() => agent.spawn(program, args, { stdin: 'null' })),
      );
      await settled('output that nobody reads', async () => (await agent.info()).spoolBytes);
      const info = await agent.info();
      t.equal(info.sessionsRunning, size.unread, 'every child is blocked');
      t.ok(
        info.spoolBytes <= info.spoolBudgetBytes + size.unread * 8 * KiB,
        `spools hold ${info.spoolBytes} bytes`,
      );
      t.ok(
        privateDirtyKiB(running.pid) <= privateDirtyKiBMax,
        `${privateDirtyKiB(running.pid)} KiB are the agent's own`,
      );
      for (const i of numbers(20)) {
        await agent.ping();
        t.equal((await agent.exec('echo', [String(i)])).stdout, `${i}\n`);
      }
      await each(unread, 4, async (session) => t.same(await digest(session.stdout), wanted));
      for (const session of unread) t.equal((await session.exited).code, 0);
      t.equal((await agent.info()).sessionsRunning, 0);
    });

    await t.test('a child that writes single bytes loses none', async (t) => {
      const args = ['single', '3', String(line === 'unix' ? 1_000_000 : 50_000)];
      const session = await agent.spawn(program, args, { stdin: 'null' });
      const [came, wanted] = await Promise.all([
        digest(session.stdout),
        digest(localProgram(t, program, args).stdout),
      ]);
      t.same(came, wanted);
    });

    t.same(await leftOver(agent), { sessionsRunning: 0, launchesPending: 0 });
    t.notMatch(running.log(), /internal error/);
  });
}

t.test('children that read quickly and then stop do not win memory for ever', async (t) => {
  await using running = await startAgent();
  await using agent = await running.connect();
  const first = 16 * MiB;
  const sessions = await Promise.all(numbers(100).map(() => agent.spawn(program, ['quick', String(first)])));
  await each(sessions, 8, async (session) => {
    const stdin = session.stdin as NodeJS.WritableStream;
    const sent = pipeline(Readable.from(chunks(first + 8 * MiB)), stdin);
    sent.catch(() => {});
    for await (const chunk of session.stdout) {
      t.equal(String(chunk), 'taken\n');
      break;
    }
  });
  await settled('input that nobody reads', async () => (await agent.info()).spoolBytes);
  const info = await agent.info();
  t.ok(
    privateDirtyKiB(running.pid) <= privateDirtyKiBMax,
    `${privateDirtyKiB(running.pid)} KiB are the agent's own`,
  );
  t.ok(info.spoolBytes <= 1.5 * info.spoolBudgetBytes, `spools hold ${info.spoolBytes} bytes`);
  t.equal((await agent.exec('echo', ['still', 'here'])).stdout, 'still here\n');
  await Promise.all(sessions.map((session) => session.kill()));
});

t.test(
  'sessions that have ended, with output that the host never reads, do not win memory for ever',
  async (t) => {
    await using running = await startAgent();
    await using agent = await running.connect();
    let refused = 0;
    const unread: Session[] = [];
    await each(numbers(3_000), 8, async (i) => {
      try {
        const session = await agent.spawn(program, ['burst', String(i), '60000', '60000'], { stdin: 'null' });
        unread.push(session);
        await session.exited;
      } catch (error) {
        t.match(error, { code: /^(too_many_sessions|limit_exceeded)$/ });
        refused++;
      }
    });
    t.ok(
      privateDirtyKiB(running.pid) <= privateDirtyKiBMax,
      `${privateDirtyKiB(running.pid)} KiB are the agent's own, ${refused} refused`,
    );
    for (const session of unread) {
      session.stdout.destroy();
      session.stderr?.destroy();
      await session.closed;
    }
    t.equal((await agent.exec('echo', ['still', 'here'])).stdout, 'still here\n');
  },
);

/** Sends a source's bytes to stdin. @returns their digest. */
async function sendAll(session: Session, source: Readable): Promise<{ sha256: string; bytes: number }> {
  const copy = new PassThrough({ highWaterMark: MiB });
  const [counted] = await Promise.all([
    digest(copy),
    pipeline(
      source,
      async function* (from: AsyncIterable<Buffer>) {
        for await (const chunk of from) {
          if (!copy.write(chunk)) await new Promise((resolve) => copy.once('drain', resolve));
          yield chunk;
        }
        copy.end();
      },
      session.stdin as NodeJS.WritableStream,
    ),
  ]);
  return counted;
}

async function digestText(session: Session): Promise<string> {
  let text = '';
  for await (const chunk of session.stdout) text += String(chunk);
  return text.split(' ')[0] ?? '';
}

function* chunks(bytes: number): Generator<Buffer> {
  const chunk = Buffer.alloc(256 * KiB, 'deaf');
  for (let left = bytes; left > 0; left -= chunk.length) yield chunk.subarray(0, left);
}

/** Lengths from 1 byte to 200 KB, more short ones than long ones. */
function burstLength(seed: number): number {
  const spread = ((seed * 2654435761) >>> 0) / 2 ** 32;
  return 1 + Math.floor(200_000 * spread ** 3);
}

async function bursts(t: Test, agent: Agent, count: number, tty: boolean): Promise<void> {
  const patterns = await Promise.all(
    numbers(16).map(async (seed) => {
      const { stdout } = await readAll(
        localProgram(t, program, ['stream', String(seed), String(256 * KiB)]).stdout,
      );
      return stdout;
    }),
  );
  let wrong = 0;
  await each(numbers(count), 8, async (i) => {
    const out = burstLength(i);
    const err = tty ? 0 : burstLength(i + count);
    const args = ['burst', String(i % 16), String(out), String(err)];
    const result = await agent.exec(program, args, { encoding: 'buffer', tty });
    const pattern = patterns[i % 16] as Buffer;
    const good =
      result.code === 0 &&
      // A terminal's other end may be held for a moment more, by a child that is being launched beside it.
      (tty || result.exit.outputComplete) &&
      result.exit.stdout.bytes === out &&
      result.stdout.equals(pattern.subarray(0, out)) &&
      result.stderr.equals(pattern.subarray(0, err));
    if (good) return;
    wrong++;
    if (wrong < 5)
      t.fail(`burst ${i}: ${result.stdout.length} of ${out}, ${result.stderr.length} of ${err}`, {
        exit: result.exit,
      });
  });
  t.equal(wrong, 0);
}

async function readAll(source: Readable): Promise<{ stdout: Buffer }> {
  const parts: Buffer[] = [];
  for await (const chunk of source) parts.push(chunk as Buffer);
  return { stdout: Buffer.concat(parts) };
}

async function leftOver(agent: Agent): Promise<{ sessionsRunning: number; launchesPending: number }> {
  const { sessionsRunning, launchesPending } = await agent.info();
  return { sessionsRunning, launchesPending };
}
