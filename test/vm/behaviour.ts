import { createHash, randomBytes } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { Agent, SpawnOptions } from '@hawser/host-client';
import type { Test } from 'tap';
import { readAll, Transcript } from '../semantics/lines.js';

/** Programs of the test image (image.ts). */
const at = (name: string): string => `/opt/test/${name}`;

export interface LineUnderTest {
  /** How much the line carries in a few seconds, bytes. */
  readonly bulkBytes: number;
}

/**
 * What a command sees and what comes back of it, in a real guest with nothing in it but busybox: the
 * behaviour list of test/semantics, as far as a guest can show it.
 */
export async function behaviours(t: Test, agent: Agent, { bulkBytes }: LineUnderTest): Promise<void> {
  await t.test('arguments, variables, folder and mask arrive as they were given', async (t) => {
    const odd = Buffer.from([0x66, 0xff, 0x0a, 0x80, 0x20]);
    const { stdout } = await agent.exec(at('print-strings'), ['', 'two words', '*', odd], {
      env: { EMPTY: '', ODD: 'a=b\nc' },
      encoding: 'buffer',
    });
    t.match(stdout.toString('latin1'), `arg 0 \narg 9 two words\narg 1 *\narg 5 ${odd.toString('latin1')}\n`);
    t.match(stdout.toString('latin1'), /\nenv 6 EMPTY=\n/);
    t.match(stdout.toString('latin1'), /\nenv 9 ODD=a=b\nc\n/);
    const script = 'pwd; umask; echo $PATH; echo $HOME';
    const lines = (await agent.exec('sh', ['-c', script], { cwd: '/opt/test', umask: 0o27 })).stdout.split(
      '\n',
    );
    t.strictSame(lines.slice(0, 2), ['/opt/test', '0027']);
    t.match(lines[2], /\/usr\/bin:/, 'there is a PATH');
    t.equal(lines[3], '/root', 'and a home');
  });

  await t.test('a command runs as the user it is told to', async (t) => {
    const options = { user: 'nobody', cwd: '/tmp' };
    const { stdout } = await agent.exec(
      'sh',
      ['-c', 'id -u; id -g; cat /root/x; echo err > /dev/stderr'],
      options,
    );
    t.equal(stdout, '65534\n65534\n');
    t.equal((await agent.exec('id', ['-u'])).stdout, '0\n');
  });

  await t.test('what cannot be started is told as what it is', async (t) => {
    const cases: readonly (readonly [
      code: string,
      errno: string | undefined,
      cmd: string,
      options?: SpawnOptions,
    ])[] = [
      ['not_found', 'ENOENT', 'no-such-command'],
      ['not_found', 'ENOTDIR', '/etc/passwd/x'],
      ['not_executable', 'EACCES', at('plain')],
      ['not_executable', 'ENOEXEC', at('no-format')],
      ['interpreter_not_found', 'ENOENT', at('no-interpreter')],
      ['cwd_not_found', 'ENOENT', 'true', { cwd: '/no/such/place' }],
      ['cwd_not_accessible', 'EACCES', 'true', { cwd: '/root', user: 'nobody' }],
      ['unknown_user', undefined, 'true', { user: 'no-such-user' }],
      ['unknown_limit', undefined, 'true', { rlimits: { nosuch: 1 } as SpawnOptions['rlimits'] & object }],
    ];
    for (const [code, errno, cmd, options] of cases) {
      await t.rejects(
        agent.exec(cmd, [], options),
        { code, ...(errno !== undefined && { errno }) },
        `${code} ${errno}`,
      );
    }
  });

  await t.test('limits are in force', async (t) => {
    const rlimits = { nofile: { soft: 64, hard: 128 }, core: 0 };
    const { stdout } = await agent.exec('sh', ['-c', 'ulimit -n; ulimit -Hn; ulimit -c'], { rlimits });
    t.equal(stdout, '64\n128\n0\n');
  });

  await t.test('exit codes and deaths by a signal', async (t) => {
    const codes = [0, 1, 2, 126, 127, 128, 255];
    const results = await Promise.all(codes.map((code) => agent.exec('sh', ['-c', `exit ${code}`])));
    t.strictSame(
      results.map(({ code, signal }) => [code, signal]),
      codes.map((code) => [code, null]),
    );
    for (const [number, name] of [
      [1, 'SIGHUP'],
      [6, 'SIGABRT'],
      [9, 'SIGKILL'],
      [11, 'SIGSEGV'],
      [64, 'SIGRTMAX'],
    ] as const) {
      const result = await agent.exec(at('die-of'), [String(number)], { rlimits: { core: 0 } });
      t.match(result, { code: null, signal: name, exit: { killedBy: undefined } });
    }
    const late = await agent.exec('sleep', ['1000'], { timeoutMs: 300 });
    t.match(late.exit, { signal: 'SIGTERM', timedOut: true, killedBy: 'timeout' });
  });

  await t.test('stdin ends', async (t) => {
    t.equal((await agent.exec('wc', ['-c'])).stdout.trim(), '0', 'at once, where there is none');
    t.equal((await agent.exec('cat', [], { input: 'näh\n' })).stdout, 'näh\n');
    const session = await agent.spawn('sh', ['-c', 'cat; echo and on; exit 3']);
    session.stdin?.end('in ');
    t.equal(String(await readAll(session.stdout)), 'in and on\n');
    t.match(await session.exited, { code: 3 });
  });

  await t.test('a terminal: size, resize, interrupt, end of file', async (t) => {
    const session = await agent.spawn('sh', [], {
      tty: { rows: 33, cols: 101 },
      env: { PS1: 'prompt> ', TERM: 'dumb' },
    });
    const output = new Transcript(session.stdout);
    const type = (text: string): void => void session.stdin?.write(text);
    await output.until('prompt> ');
    type('stty size; tty\n');
    await output.until(/\r\n33 101\r\n\/dev\/pts\/\d+\r\n/);
    await session.resize({ rows: 20, cols: 70 });
    type('stty size\n');
    await output.until('20 70\r\n');
    type("sh -c 'echo begun $((40+2)); exec sleep 1000'\n");
    await output.until('begun 42\r\n');
    type('\x03');
    type('echo still $((40+2))\n');
    await output.until('still 42\r\n');
    type('exit 9\n');
    t.match(await session.exited, { code: 9 });
    const counted = await agent.spawn('sh', ['-c', 'stty -echo; echo ready; wc -c'], { tty: true });
    const count = new Transcript(counted.stdout);
    await count.until('ready\r\n');
    counted.stdin?.end('12345\n');
    await count.until(/6\r\n/);
    t.match(await counted.exited, { code: 0 });
  });

  await t.test('signals reach the group, and a trap answers', async (t) => {
    const session = await agent.spawn('sh', [
      '-c',
      'trap "echo got it; exit 7" USR1; echo up; while :; do sleep 0.1; done',
    ]);
    const output = new Transcript(session.stdout);
    await output.until('up\n');
    await session.signal('SIGUSR1', { target: 'leader' });
    t.match(await output.rest(), 'got it');
    t.match(await session.exited, { code: 7 });
    const two = await agent.spawn('sh', ['-c', 'sleep 1000 & echo up; wait']);
    await new Transcript(two.stdout).until('up\n');
    await two.kill();
    t.match(await two.exited, { signal: 'SIGKILL', killedBy: 'request' });
    await two.closed;
  });

  await t.test('every byte goes both ways unchanged', async (t) => {
    const every = Buffer.concat([
      Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)),
      randomBytes(4_000),
    ]);
    const { stdout } = await agent.exec('cat', [], { input: every, encoding: 'buffer' });
    t.ok(stdout.equals(every));
    const raw = await agent.spawn('sh', ['-c', 'stty raw -echo; echo go; head -c 256'], { tty: true });
    const output = new Transcript(raw.stdout);
    await output.until(/go\r?\n/);
    raw.stdin?.write(every.subarray(0, 256));
    t.equal(await output.rest(), every.toString('latin1', 0, 256), 'through a raw terminal, too');
  });

  await t.test(`${bulkBytes >> 10} KiB each way have the right SHA-256`, async (t) => {
    const input = randomBytes(bulkBytes);
    const sha256 = createHash('sha256').update(input).digest('hex');
    const up = await agent.exec('sha256sum', [], { input });
    t.equal(up.stdout.split(' ')[0], sha256, 'in');
    const script = `head -c ${bulkBytes} /dev/urandom | tee /tmp/bulk; sha256sum < /tmp/bulk >&2; rm /tmp/bulk`;
    const session = await agent.spawn('sh', ['-c', script], { stdin: 'null' });
    const [stdout, stderr] = await Promise.all([
      readAll(session.stdout),
      readAll(session.stderr as Readable),
    ]);
    t.equal(createHash('sha256').update(stdout).digest('hex'), String(stderr).split(' ')[0], 'out');
    t.match(await session.exited, { stdout: { bytes: bulkBytes, dropped: 0 }, outputComplete: true });
  });

  await t.test('sessions run beside each other, and a full one stops nobody', async (t) => {
    const before = (await agent.info()).sessionsRunning;
    const endless = await agent.spawn('yes');
    const deaf = await agent.spawn('sleep', ['1000']);
    deaf.stdin?.write(Buffer.alloc(Math.min(200_000, bulkBytes)));
    const many = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        agent.exec('sh', ['-c', `cat; echo ${i}; echo e${i} >&2`], { input: `<${i}>` }),
      ),
    );
    t.strictSame(
      many.map(({ stdout, stderr }) => stdout + stderr),
      many.map((_, i) => `<${i}>${i}\ne${i}\n`),
    );
    endless.stdout.destroy();
    await endless.kill();
    await deaf.kill();
    t.match(await endless.exited, { signal: 'SIGKILL' });
    t.match(await deaf.exited, { signal: 'SIGKILL' });
    await endless.closed;
    await deaf.closed;
    t.equal((await agent.info()).sessionsRunning, before);
  });
}
