import { once } from 'node:events';
import type { Session } from '@hawser/host-client';
import { overEachLine, readAll, Transcript } from './lines.js';

/** Runs a command that reads to its end. @returns its output, without the terminal's own additions. */
async function outputOf(session: Session): Promise<string> {
  const [output] = await Promise.all([readAll(session.stdout), session.exited]);
  return String(output).replaceAll('\r\n', '\n');
}

/** A terminal that does not echo, so that the output is the command's alone. */
const quietly = (command: string): [string, string[]] => ['sh', ['-c', `stty -echo; echo ready; ${command}`]];

overEachLine(async (t, { agent }) => {
  await t.test('the end of stdin closes a pipe', async (t) => {
    const cat = await agent.spawn('cat');
    cat.stdin?.write('one\n');
    cat.stdin?.end('two');
    t.equal(await outputOf(cat), 'one\ntwo');
    const wc = await agent.spawn('wc', ['-c']);
    wc.stdin?.end();
    t.equal(await outputOf(wc), '0\n', 'at once');
    const big = await agent.spawn('wc', ['-c']);
    big.stdin?.end(Buffer.alloc(5_000_000));
    t.equal(await outputOf(big), '5000000\n', 'after everything that was written');
  });

  await t.test('a command may go on when its stdin has ended', async (t) => {
    const session = await agent.spawn('sh', ['-c', 'cat; echo and on; exit 3']);
    session.stdin?.end('in ');
    t.equal(await outputOf(session), 'in and on\n');
    t.match(await session.exited, { code: 3 });
  });

  await t.test('the end of stdin is an end of file to a terminal that reads lines', async (t) => {
    for (const [input, seen] of [
      ['', '0\n'],
      ['whole lines\nof two\n', '19\n'],
      ['whole lines\nand unfinished', '26\n'],
      ['unfinished', '10\n'],
    ] as const) {
      const session = await agent.spawn(...quietly('wc -c'), { tty: true });
      const output = new Transcript(session.stdout);
      await output.until('ready\r\n');
      session.stdin?.end(input);
      t.equal((await output.rest()).replaceAll('\r', ''), seen, JSON.stringify(input));
      t.match(await session.exited, { code: 0 });
    }
  });

  await t.test('the end of file comes after more than the terminal holds', async (t) => {
    const session = await agent.spawn(...quietly('kill -STOP $$; wc -l'), { tty: true });
    const output = new Transcript(session.stdout);
    await output.until('ready\r\n');
    const lines = 'a line of thirty-two characters.\n'.repeat(20_000);
    session.stdin?.end(lines);
    // Time for the terminal to fill: both ways over the line, many times.
    for (let i = 0; i < 50; i++) await agent.ping();
    await session.signal('SIGCONT');
    t.match(await output.rest(), /^20000\r\n$/);
    t.match(await session.exited, { code: 0 });
  });

  await t.test('the end of file is the character that the terminal has for it', async (t) => {
    const session = await agent.spawn(...quietly('stty eof ^X; echo set; wc -c'), { tty: true });
    const output = new Transcript(session.stdout);
    await output.until('set\r\n');
    session.stdin?.end('\x04x');
    t.match(await output.rest(), /^2\r\n$/);
  });

  await t.test('after the end of file a terminal goes on', async (t) => {
    const session = await agent.spawn(...quietly('cat; echo on; sleep 60'), { tty: true });
    const output = new Transcript(session.stdout);
    session.stdin?.end('x\n');
    await output.until('on\r\n');
    await session.resize({ rows: 10, cols: 10 });
    await session.kill();
    t.match(await session.exited, { signal: 'SIGKILL' });
  });

  await t.test('a command without stdin reads an immediate end', async (t) => {
    for (const tty of [false, true]) {
      const session = await agent.spawn('sh', ['-c', 'cat; echo end'], { stdin: 'null', tty });
      t.equal(session.stdin, null);
      t.equal(await outputOf(session), 'end\n');
      t.equal((await agent.exec('wc', ['-c'], { tty })).stdout.trim(), '0', 'exec without input');
    }
  });

  await t.test('raw mode at the end changes nothing for a terminal without stdin', async (t) => {
    const { stdout, code } = await agent.exec('sh', ['-c', 'stty raw < /dev/tty; cat; echo end'], {
      tty: true,
    });
    t.equal(stdout.trim(), 'end');
    t.equal(code, 0);
  });

  await t.test('writing after the command closed its end is an event, and the session goes on', async (t) => {
    const session = await agent.spawn('sh', ['-c', 'exec <&-; echo closed; kill -STOP $$; echo on; exit 7']);
    const output = new Transcript(session.stdout);
    await output.until('closed\n');
    const error = once(session.stdin as NonNullable<Session['stdin']>, 'error');
    session.stdin?.write('nobody reads this');
    t.match((await error)[0], {
      name: 'HawserError',
      code: 'stdin_closed',
      errno: 'EPIPE',
      message: /after 0 bytes/,
    });
    t.equal(session.stdin?.destroyed, true);
    await session.signal('SIGCONT');
    t.equal(await output.rest(), 'on\n');
    t.match(await session.exited, { code: 7, outputComplete: true });
  });

  await t.test('the end of the command is told first, and then that nobody reads its stdin', async (t) => {
    for (const tty of [false, true]) {
      const session = await agent.spawn('true', [], { tty });
      const stdin = session.stdin as NonNullable<Session['stdin']>;
      const told: string[] = [];
      const error = once(stdin, 'error');
      void error.then(() => told.push('error'));
      await session.exited;
      told.push('exited');
      stdin.write('nobody reads this');
      t.match((await error)[0], { code: 'stdin_closed', message: 'the command has ended' });
      t.strictSame(told, ['exited', 'error']);
      t.equal(stdin.destroyed, true);
    }
  });

  await t.test('nobody has to listen to that event', async (t) => {
    const session = await agent.spawn('sh', [
      '-c',
      'head -c 5; exec <&-; echo; echo closed; kill -STOP $$; exit 8',
    ]);
    const output = new Transcript(session.stdout);
    session.stdin?.write(Buffer.alloc(3_000_000, 'x'));
    await output.until('xxxxx\nclosed\n');
    await session.signal('SIGCONT');
    t.match(await session.exited, { code: 8 });
  });

  await t.test('what was written before the command closed its end was counted', async (t) => {
    const session = await agent.spawn('sh', ['-c', 'read line; exec <&-; echo "$line"; kill -STOP $$']);
    const output = new Transcript(session.stdout);
    const stdin = session.stdin as NonNullable<Session['stdin']>;
    const error = once(stdin, 'error');
    stdin.write('12345\n');
    await output.until('12345\n');
    stdin.write('more');
    t.match((await error)[0], { code: 'stdin_closed', message: /after 6 bytes/ });
    await session.kill();
  });

  await t.test('a command that stops reading and ends frees what was written', async (t) => {
    // What the tests before have not read is kept for them.
    const { spoolBytes } = await agent.info();
    for (let i = 0; i < 20; i++) {
      const session = await agent.spawn('head', ['-c', '1']);
      session.stdin?.end(Buffer.alloc(2_000_000));
      t.match(await session.exited, { code: 0 });
      await readAll(session.stdout);
      await session.closed;
    }
    // What was on its way is taken in before the answer.
    await agent.ping();
    t.equal((await agent.info()).spoolBytes, spoolBytes);
  });

  await t.test('stdin that is destroyed ends for the command', async (t) => {
    for (const tty of [false, true]) {
      const session = await agent.spawn('sh', ['-c', 'echo up; cat > /dev/null; echo over'], { tty });
      const output = new Transcript(session.stdout);
      await output.until('up');
      session.stdin?.destroy();
      await output.until('over');
      t.match(await session.exited, { code: 0 });
    }
  });
});
