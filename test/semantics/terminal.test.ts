import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Agent, Session, SpawnOptions } from '@hawser/host-client';
import { startAgent } from '../support/agentd.js';
import { compile, folder, gone, isAlive, overEachLine, readAll, Transcript } from './lines.js';

const windowSize = compile('window-size');
const reportSignals = compile('report-signals');
const ctrlC = '\x03';
const ctrlZ = '\x1a';

interface Terminal {
  readonly session: Session;
  readonly output: Transcript;
  readonly type: (text: string | Uint8Array) => void;
}

async function terminal(
  agent: Agent,
  cmd: string,
  args: string[] = [],
  options: SpawnOptions = {},
): Promise<Terminal> {
  const session = await agent.spawn(cmd, args, { tty: true, ...options });
  return { session, output: new Transcript(session.stdout), type: (text) => void session.stdin?.write(text) };
}

/** An interactive shell at its prompt, with job control. */
async function shell(agent: Agent): Promise<Terminal> {
  const bash = await terminal(agent, 'bash', ['--norc', '--noediting', '-i'], {
    env: { PS1: 'prompt> ', PS2: '', HISTFILE: '' },
  });
  await bash.output.until('prompt> ');
  return bash;
}

/** Of proc_pid_stat(5): the process's terminal, session, groups. */
async function placeOf(
  pid: number,
): Promise<{ pgrp: number; session: number; tty: number; tpgid: number; state: string }> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
  const [state = '', , pgrp, session, tty, tpgid] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { state, pgrp: Number(pgrp), session: Number(session), tty: Number(tty), tpgid: Number(tpgid) };
}

overEachLine(async (t, { agent, line }) => {
  await t.test('the command has a terminal of its own, and leads its session', async (t) => {
    const script =
      'tty; tty <&1; tty <&2; tty < /dev/tty; echo $$; ps -o tty=,sid=,pgid=,tpgid= -p $$; sh -c "tty; echo on the tty > /dev/tty"';
    const { session, output } = await terminal(agent, 'sh', ['-c', script]);
    const lines = (await output.rest()).trim().split('\r\n');
    const name = lines[0] ?? '';
    t.match(name, /^\/dev\/pts\/\d+$/);
    t.strictSame([lines[1], lines[2], lines[3]], [name, name, '/dev/tty']);
    t.equal(lines[4], String(session.pid));
    t.strictSame(lines[5]?.trim().split(/\s+/), [
      name.slice(5),
      ...Array.from({ length: 3 }, () => String(session.pid)),
    ]);
    t.strictSame(lines.slice(6), [name, 'on the tty']);
  });

  await t.test('a piped command has no terminal', async (t) => {
    const { stdout } = await agent.exec('sh', [
      '-c',
      'tty; ps -o tty= -p $$; (: < /dev/tty) 2>/dev/null || echo none',
    ]);
    t.equal(stdout, 'not a tty\n?\nnone\n');
  });

  await t.test('setsid -c takes the terminal over', async (t) => {
    const script =
      'echo $$; setsid -c -w sh -c "echo \\$\\$; tty < /dev/tty; ps -o sid=,pgid=,tpgid= -p \\$\\$"; echo after';
    const lines = (await (await terminal(agent, 'sh', ['-c', script])).output.rest()).trim().split(/\r\n/);
    const [outer, inner, tty, place, after] = lines;
    t.not(outer, inner);
    t.equal(tty, '/dev/tty');
    t.strictSame(place?.trim().split(/\s+/), [inner, inner, inner]);
    t.equal(after, 'after');
  });

  await t.test('jobs are stopped, sent to the background and brought back', async (t) => {
    const { session, output, type } = await shell(agent);
    type(`sh -c 'echo job is $$; exec sleep 60'\n`);
    const job = Number((await output.until(/job is (\d+)/))[1]);
    const leader = session.pid;
    t.match(await placeOf(job), { pgrp: job, session: leader, tpgid: job }, 'the job has the foreground');
    type(ctrlZ);
    await output.until(/Stopped[^]*prompt> /);
    t.match(await placeOf(job), { state: 'T', tpgid: leader }, 'the shell has it back');
    type('bg\n');
    await output.until(/\[1\]\+ [^]*&\r\n[^]*prompt> /);
    type('jobs\n');
    await output.until(/Running[^]*prompt> /);
    t.match(await placeOf(job), { state: /[SR]/, tpgid: leader });
    type('fg\n');
    await output.until(/sleep 60'?\r\n/);
    await hasForeground(job);
    type(ctrlZ);
    await output.until(/Stopped[^]*prompt> /);
    type('fg\n');
    await output.until(/sleep 60'?\r\n/);
    await hasForeground(job);
    type(ctrlC);
    await output.until('prompt> ');
    await gone(job);
    type('echo status $?\n');
    await output.until('status 130\r\n');
    type('exit 5\n');
    t.match(await session.exited, { code: 5 });
  });

  await t.test('Ctrl-C ends the foreground job only', async (t) => {
    const { session, output, type } = await shell(agent);
    type(`sh -c 'echo behind is $$; exec sleep 60' &\n`);
    const behind = Number((await output.until(/behind is (\d+)/))[1]);
    type(`sh -c 'echo before is $$; exec sleep 60'\n`);
    const before = Number((await output.until(/before is (\d+)/))[1]);
    type(ctrlC);
    await output.until('prompt> ');
    await gone(before);
    t.ok(isAlive(behind));
    t.ok(isAlive(session.pid));
    type('kill %1; wait; exit 0\n');
    t.match(await session.exited, { code: 0 });
    await gone(behind);
  });

  await t.test('Ctrl-C ends a command, which is a death by SIGINT that nobody of ours sent', async (t) => {
    const { session, output, type } = await terminal(agent, 'sh', ['-c', 'echo up; exec sleep 60']);
    await output.until('up');
    type(ctrlC);
    const exit = await session.exited;
    t.match(exit, { code: null, signal: 'SIGINT' });
    t.equal(exit.killedBy, undefined);
  });

  await t.test('a terminal echoes, edits and translates lines as terminals do', async (t) => {
    const { session, output, type } = await terminal(agent, 'cat');
    type('abd\x7fc\r');
    await output.until('abd\b \bc\r\nabc\r\n');
    session.stdin?.end();
    t.match(await session.exited, { code: 0 });
  });

  await t.test('the size is there at the first instruction', async (t) => {
    for (const [tty, size] of [
      [true, '24 80 0 0'],
      [{ rows: 50 }, '50 80 0 0'],
      [{ rows: 1, cols: 1 }, '1 1 0 0'],
      [{ rows: 43, cols: 132, xpixel: 1024, ypixel: 768 }, '43 132 1024 768'],
      [{ rows: 65_535, cols: 65_535, xpixel: 65_535, ypixel: 65_535 }, '65535 65535 65535 65535'],
    ] as const) {
      t.equal(
        (await agent.exec('sh', ['-c', `${windowSize} 2>&1 < /dev/tty`], { tty })).stdout,
        `size ${size}\r\n`,
      );
      const { output } = await terminal(agent, windowSize, [], { tty });
      t.equal(await output.rest(), `size ${size}\r\n`);
    }
    await t.rejects(agent.spawn('true', [], { tty: { rows: 65_536 } }), { name: 'HawserError' });
  });

  await t.test('a resize is told to the program', async (t) => {
    const { session, output } = await terminal(agent, windowSize, ['99', '99']);
    await output.until('size 24 80 0 0');
    for (const size of [
      { rows: 25, cols: 80 },
      { rows: 25, cols: 81, xpixel: 7, ypixel: 9 },
      { rows: 99, cols: 99 },
    ]) {
      await session.resize(size);
      await output.until(`size ${size.rows} ${size.cols} ${size.xpixel ?? 0} ${size.ypixel ?? 0}\r\n`);
    }
    t.match(await session.exited, { code: 0 });
  });

  await t.test('a thousand resizes at once end at the last size', async (t) => {
    const { session, output } = await terminal(agent, windowSize, ['77', '177']);
    await output.until('size 24 80');
    const all: Promise<void>[] = [];
    for (let i = 0; i < 999; i++) all.push(session.resize({ rows: 10 + (i % 60), cols: 20 + (i % 90) }));
    all.push(session.resize({ rows: 77, cols: 177 }));
    await Promise.all(all);
    t.match(await output.rest(), /size 77 177 0 0\r\n$/);
    t.match(await session.exited, { code: 0 });
  });

  await t.test('SIGWINCH reaches the foreground job', async (t) => {
    const { session, output, type } = await shell(agent);
    type(`${reportSignals}\n`);
    const job = Number((await output.until(/leader is (\d+)/))[1]);
    await session.resize({ rows: 31, cols: 41 });
    await output.until('leader got 28');
    process.kill(job, 'SIGKILL');
    await output.until('prompt> ');
    type('stty size; exit\n');
    await output.until('31 41\r\n');
    t.match(await session.exited, { code: 0 });
  });

  await t.test('every byte value survives raw mode, both ways', async (t) => {
    const { session, output, type } = await terminal(agent, 'sh', [
      '-c',
      'stty raw -echo; printf ready; exec cat',
    ]);
    await output.until('ready');
    const every = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    const bytes = Buffer.concat([every, every.toReversed(), every, every]);
    type(bytes);
    let seen = '';
    while (seen.length < bytes.length) seen += (await output.until(/[^]+/))[0];
    t.ok(Buffer.from(seen, 'latin1').equals(bytes));
    await session.kill();
    await session.exited;
  });

  await t.test('a megabyte each way through a raw terminal is whole', async (t) => {
    const { session, output, type } = await terminal(agent, 'sh', [
      '-c',
      'stty raw -echo; printf ready; head -c 1000000 | sha256sum; cat',
    ]);
    await output.until('ready');
    const bytes = Buffer.alloc(1_000_000);
    for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7919) >> 3;
    type(bytes);
    const [, sum] = await output.until(/([0-9a-f]{64})  -\n/);
    t.equal(sum, createHash('sha256').update(bytes).digest('hex'));
    type(bytes);
    let count = output.text.length;
    output.text = '';
    while (count < bytes.length) count += (await output.until(/[^]+/))[0].length;
    t.equal(count, bytes.length);
    await session.kill();
  });

  await t.test('everything that was written before the exit comes', async (t) => {
    const numbers = Array.from({ length: 50_000 }, (_, i) => `${i + 1}\r\n`).join('');
    for (let round = 0; round < 4; round++) {
      const { stdout, stderr, exit } = await agent.exec('seq', ['50000'], { tty: true });
      t.ok(stdout === numbers);
      t.equal(stderr, '');
      t.match(exit, { code: 0, outputComplete: true, stdout: { bytes: numbers.length, dropped: 0 } });
    }
  });

  await t.test('a background job that keeps the terminal does not hold up the exit', async (t) => {
    const { session, output } = await terminal(agent, 'sh', ['-c', `trap '' HUP; sleep 60 & echo pid $!`]);
    const pid = Number((await output.until(/pid (\d+)/))[1]);
    t.match(await session.exited, { code: 0, outputComplete: false });
    t.ok(isAlive(pid), 'it ignores the hang-up');
    process.kill(pid);
    await session.closed;
  });

  await t.test('stderr is the terminal', async (t) => {
    const session = await agent.spawn('sh', ['-c', 'echo out; echo err >&2'], { tty: true });
    t.equal(session.stderr, null);
    t.equal(String(await readAll(session.stdout)), 'out\r\nerr\r\n');
  });

  await t.test('terminals do not use up', async (t) => {
    for (let round = 0; round < 5; round++) {
      const names = await Promise.all(
        Array.from({ length: 20 }, () => agent.exec('sh', ['-c', 'tty <&1 >&2'], { tty: true })),
      );
      t.ok(names.every(({ stdout }) => /^\/dev\/pts\/\d+\r\n$/.test(stdout)));
    }
  });

  await t.test('a host that goes hangs up', async (t) => {
    const fifo = join(folder, `hangup-${line}`);
    execFileSync('mkfifo', [fifo]);
    await using own = await startAgent({ line });
    const host = await own.connect();
    const script = `trap 'echo hung up > ${fifo}; exit' HUP; trap '' TERM; echo up; while :; do sleep 60 & wait; done`;
    const { session, output } = await terminal(host, 'sh', ['-c', script]);
    const { pid } = session;
    await output.until('up');
    await host.close();
    t.equal(await readFile(fifo, 'utf8'), 'hung up\n');
    await gone(pid);
  });
});

/** bash names a job before it gives it the terminal, of which no event tells: a key that came before were bash's. */
async function hasForeground(job: number): Promise<void> {
  while ((await placeOf(job)).tpgid !== job);
}
