import { execFileSync } from 'node:child_process';
import { getEventListeners, once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { Agent, HawserError } from '@hawser/host-client';
import { startAgent } from '../support/agentd.js';
import { compile, eventually, folder, gone, isAlive, overEachLine, readAll, Transcript } from './lines.js';

const dieOf = compile('die-of');
mkdirSync(join(folder, 'cores'));
const coresArePlain = !readFileSync('/proc/sys/kernel/core_pattern', 'latin1').startsWith('|');

/** signal(7): those whose default action is to end the process, and to dump core where it says so. */
const fatal: readonly (readonly [number: number, name: string, dumps?: 'core'])[] = [
  [1, 'SIGHUP'],
  [2, 'SIGINT'],
  [3, 'SIGQUIT', 'core'],
  [4, 'SIGILL', 'core'],
  [5, 'SIGTRAP', 'core'],
  [6, 'SIGABRT', 'core'],
  [7, 'SIGBUS', 'core'],
  [8, 'SIGFPE', 'core'],
  [9, 'SIGKILL'],
  [10, 'SIGUSR1'],
  [11, 'SIGSEGV', 'core'],
  [12, 'SIGUSR2'],
  [13, 'SIGPIPE'],
  [14, 'SIGALRM'],
  [15, 'SIGTERM'],
  [16, 'SIGSTKFLT'],
  [24, 'SIGXCPU', 'core'],
  [25, 'SIGXFSZ', 'core'],
  [26, 'SIGVTALRM'],
  [27, 'SIGPROF'],
  [29, 'SIGIO'],
  [30, 'SIGPWR'],
  [31, 'SIGSYS', 'core'],
  [32, 'SIG32'],
  [33, 'SIG33'],
  [34, 'SIGRTMIN'],
  [37, 'SIGRTMIN+3'],
  [63, 'SIGRTMAX-1'],
  [64, 'SIGRTMAX'],
];

async function refusal(call: Promise<unknown>): Promise<HawserError> {
  return call.then(
    () => Promise.reject(new Error('it succeeded')),
    (error: unknown) => error as HawserError,
  );
}

/** Runs a command whose output begins with pids, one a line. */
async function started(agent: Agent, script: string, options: Parameters<Agent['spawn']>[2] = {}) {
  const session = await agent.spawn('sh', ['-c', script], options);
  const output = new Transcript(session.stdout);
  const [, pid = ''] = await output.until(/(\d+)\r?\n/);
  return { session, output, pid: Number(pid) };
}

overEachLine(async (t, { agent, agentd, line }) => {
  await t.test('every exit code arrives', async (t) => {
    const codes = Array.from({ length: 256 }, (_, code) => code);
    const results = await Promise.all(
      codes.map((code) => agent.exec('sh', ['-c', `exit ${code}`], { tty: code % 16 === 0 })),
    );
    t.strictSame(
      results.map(({ code }) => code),
      codes,
    );
    t.ok(
      results.every(({ signal, exit }) => signal === null && !exit.coreDumped && exit.killedBy === undefined),
    );
  });

  await t.test('death by a signal has its name', async (t) => {
    for (const [number, name] of fatal) {
      const result = await agent.exec(dieOf, [String(number)], {
        rlimits: { core: 0 },
        tty: number % 2 === 0,
      });
      t.match(result, { code: null, signal: name, exit: { signal: name, timedOut: false } });
      t.equal(result.exit.killedBy, undefined, 'it was nobody of ours');
      if (coresArePlain) t.equal(result.exit.coreDumped, false, 'no core with a limit of 0');
    }
  });

  await t.test('the exit record says whether a core was dumped', { skip: !coresArePlain }, async (t) => {
    for (const [number, name, dumps] of fatal) {
      const { exit } = await agent.exec(dieOf, [String(number)], {
        rlimits: { core: 'unlimited' },
        cwd: join(folder, 'cores'),
      });
      t.equal(exit.coreDumped, dumps === 'core', name);
    }
  });

  await t.test('the exit record has times, usage and counts', async (t) => {
    const { exit } = await agent.exec('sh', [
      '-c',
      'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo 123; echo 12345 >&2',
    ]);
    t.match(exit, {
      stdout: { bytes: 4, dropped: 0 },
      stderr: { bytes: 6, dropped: 0 },
      outputComplete: true,
    });
    t.ok(exit.rusage.userUs + exit.rusage.systemUs > 0);
    t.ok(exit.durationUs > 0);
    t.ok(Number.isSafeInteger(exit.startedAtUs));
  });

  await t.test('a background child does not hold up the exit', async (t) => {
    const session = await agent.spawn('sh', ['-c', 'sleep 60 & echo hi $!; echo err >&2']);
    let closed = false;
    session.closed.then(() => (closed = true)).catch(() => {});
    const exit = await session.exited;
    const output = new Transcript(session.stdout);
    const [text, pid] = await output.until(/hi (\d+)\n/);
    t.equal(exit.code, 0);
    t.equal(exit.outputComplete, false);
    t.equal(exit.stdout.bytes, text.length, 'every byte of the leader is counted');
    t.equal(exit.stderr.bytes, 4);
    t.ok(isAlive(Number(pid)));
    t.equal(closed, false, 'the pipe is still held');
    process.kill(Number(pid));
    t.equal(await output.rest(), '');
    t.equal(String(await readAll(session.stderr as Readable)), 'err\n');
    await session.closed;
  });

  await t.test('what descendants write later still comes', async (t) => {
    const fifo = join(folder, `go-${line}`);
    execFileSync('mkfifo', [fifo]);
    const session = await agent.spawn('sh', [
      '-c',
      `(read go < ${fifo}; seq 1 50000; echo late >&2) & echo early`,
    ]);
    const exit = await session.exited;
    t.match(exit, { code: 0, outputComplete: false, stdout: { bytes: 6 } });
    await writeFile(fifo, 'go\n');
    const [stdout, stderr] = await Promise.all([
      readAll(session.stdout),
      readAll(session.stderr as Readable),
    ]);
    const numbers = Array.from({ length: 50_000 }, (_, i) => `${i + 1}\n`).join('');
    t.ok(stdout.equals(Buffer.from(`early\n${numbers}`)));
    t.equal(String(stderr), 'late\n');
    await session.closed;
  });

  await t.test('exec resolves at the exit, with what the leader wrote', async (t) => {
    const result = await agent.exec('sh', ['-c', 'sleep 60 & echo $!; seq 1 5000; echo end >&2']);
    const pid = Number(result.stdout.split('\n')[0]);
    t.match(result, { code: 0, stdout: /\n5000\n$/, stderr: 'end\n', exit: { outputComplete: false } });
    process.kill(pid);
    await gone(pid);
  });

  await t.test('a terminal ends with its leader', async (t) => {
    const { session, output, pid } = await started(agent, 'sleep 60 & echo $!; seq 1 20000', { tty: true });
    const numbers = Array.from({ length: 20_000 }, (_, i) => `${i + 1}\r\n`).join('');
    t.equal(await output.rest(), numbers, 'whole');
    t.match(await session.exited, { code: 0 });
    await session.closed;
    await gone(pid);
  });

  await t.test('exec feeds what it is given', async (t) => {
    const long = Buffer.alloc(3_000_001, 'näh');
    const fed = async (input: string | Uint8Array | Readable): Promise<Buffer> =>
      (await agent.exec('cat', [], { input, encoding: 'buffer' })).stdout;
    t.equal(String(await fed('text ü')), 'text ü');
    t.equal(String(await fed('')), '');
    t.ok((await fed(long)).equals(long), 'a Buffer');
    t.ok((await fed(new Uint8Array(long))).equals(long), 'a Uint8Array');
    t.equal(String(await fed(Readable.from(['a', 'b', 'c']))), 'abc');
    t.equal(String(await fed(Readable.from([Buffer.from('a'), Buffer.from('b')]))), 'ab');
    t.equal((await agent.exec('cat')).stdout, '', 'nothing at all');
    t.match(
      await agent.exec('true', [], { input: long }),
      { code: 0 },
      'a command that does not read is no error',
    );
    t.match(await agent.exec('head', ['-c', '3'], { input: long }), { code: 0, stdout: 'näh'.slice(0, 2) });
    t.equal(
      (await agent.exec('wc', ['-l'], { input: 'a\nb\n', tty: true })).stdout.trim().split(/\s+/).at(-1),
      '2',
    );
  });

  await t.test('input that fails ends the command, and the call with it', async (t) => {
    const source = new Readable({ read() {} });
    const reason = new Error('the source broke');
    const call = refusal(agent.exec('sh', ['-c', 'cat; echo $$; sleep 60'], { input: source }));
    source.push('some');
    source.destroy(reason);
    const error = await call;
    t.equal(error.code, 'aborted');
    t.equal(error.cause, reason);
    await eventuallyIdle(agent);
  });

  await t.test('output beyond maxBufferBytes kills the command', async (t) => {
    const error = await refusal(
      agent.exec('sh', ['-c', 'echo $$; sleep 60 & echo $!; exec yes'], { maxBufferBytes: 1000 }),
    );
    t.equal(error.code, 'max_buffer');
    t.match(error.message, /1000/);
    t.equal(error.output?.stdout.length, 1000);
    const [leader, child] = String(error.output?.stdout).split('\n').map(Number);
    await gone(leader as number, child as number);
    const other = await refusal(agent.exec('sh', ['-c', 'echo out; yes >&2'], { maxBufferBytes: 10_000 }));
    t.equal(other.code, 'max_buffer');
    t.equal(other.output?.stderr.length, 10_000);
    t.equal(String(other.output?.stdout), 'out\n');
    t.equal(
      (await agent.exec('head', ['-c', '1000', '/dev/zero'], { maxBufferBytes: 1000 })).stdout.length,
      1000,
      'as much is allowed',
    );
  });

  await t.test('text is decoded as a whole', async (t) => {
    const text = `x${'é\u{1f6a2}'.repeat(100_000)}`;
    t.ok((await agent.exec('cat', [], { input: text })).stdout === text);
    const { stdout, stderr } = await agent.exec('sh', ['-c', "printf '\\377\\0'; printf '\\376' >&2"], {
      encoding: 'buffer',
    });
    t.strictSame([[...stdout], [...stderr]], [[255, 0], [254]]);
  });

  await t.test('an abort before the call starts nothing', async (t) => {
    const reason = new Error('no longer wanted');
    const before = (await agent.info()).sessionsStarted;
    const signal = AbortSignal.abort(reason);
    t.match(await refusal(agent.exec('true', [], { signal })), {
      name: 'HawserError',
      code: 'aborted',
      cause: reason,
    });
    t.match(await refusal(agent.spawn('true', [], { signal })), { code: 'aborted', cause: reason });
    t.equal((await agent.info()).sessionsStarted, before);
  });

  await t.test('an abort during the launch leaves nothing', async (t) => {
    for (const tty of [false, true]) {
      const controller = new AbortController();
      const calls = [
        refusal(agent.spawn('sleep', ['60'], { tty, signal: controller.signal })),
        refusal(agent.exec('sleep', ['60'], { tty, signal: controller.signal })),
      ];
      controller.abort();
      t.strictSame(
        (await Promise.all(calls)).map(({ code }) => code),
        ['aborted', 'aborted'],
      );
      t.equal(getEventListeners(controller.signal, 'abort').length, 0);
    }
    await eventuallyIdle(agent);
  });

  await t.test('an abort ends what runs', async (t) => {
    const controller = new AbortController();
    const { session, pid } = await started(agent, 'sleep 60 & echo $!; wait', { signal: controller.signal });
    const call = refusal(agent.exec('sleep', ['60'], { signal: controller.signal }));
    controller.abort();
    t.match(await session.exited, { signal: 'SIGKILL', killedBy: 'request' });
    t.match(await call, { code: 'aborted' });
    await gone(pid, session.pid);
    await eventuallyIdle(agent);
    t.equal(getEventListeners(controller.signal, 'abort').length, 0);
  });

  await t.test('a timeout ends the whole group', async (t) => {
    const group = agent.exec('sh', ['-c', 'sleep 60 & echo $!; echo $$; wait'], { timeoutMs: 1000 });
    const terminal = agent.exec('sh', ['-c', 'sleep 60 & echo $!; echo $$; wait'], {
      timeoutMs: 1000,
      tty: true,
    });
    const handled = agent.exec('sh', ['-c', 'trap "exit 9" TERM; sleep 60 & wait'], { timeoutMs: 1000 });
    const deaf = agent.exec('sh', ['-c', 'trap "" TERM; sleep 60 & echo $!; echo $$; wait'], {
      timeoutMs: 1000,
      killGraceMs: 50,
    });
    const other = agent.exec('sleep', ['60'], { timeoutMs: 1000, killSignal: 'SIGINT' });
    const quick = agent.exec('true', [], { timeoutMs: 60_000 });
    t.match(await group, { code: null, signal: 'SIGTERM', timedOut: true, exit: { killedBy: 'timeout' } });
    t.match(await terminal, { signal: 'SIGTERM', timedOut: true });
    t.match(await handled, { code: 9, signal: null, timedOut: true, exit: { killedBy: 'timeout' } });
    t.match(await deaf, { signal: 'SIGKILL', timedOut: true });
    t.match(await other, { signal: 'SIGINT', timedOut: true });
    t.match(await quick, { code: 0, timedOut: false });
    for (const { stdout } of [await group, await terminal, await deaf])
      await gone(...stdout.trim().split(/\s+/).map(Number));
  });

  await t.test('a signal that the command ignored does not save it from its timeout', async (t) => {
    const { session, pid } = await started(agent, 'trap "" TERM; sleep 60 & echo $!; wait', {
      timeoutMs: 1000,
      killGraceMs: 50,
    });
    await session.signal('SIGTERM');
    t.match(await session.exited, { signal: 'SIGKILL', timedOut: true, killedBy: 'timeout' });
    await gone(pid);
  });

  await t.test('the exit record says who killed', async (t) => {
    const { session: deaf, output } = await started(
      agent,
      'trap "echo heard" TERM; echo $$; read line; exit 3',
    );
    await deaf.signal('SIGTERM');
    deaf.stdin?.end('x\n');
    await output.until('heard');
    const exit = await deaf.exited;
    t.match(exit, { code: 3 });
    t.equal(exit.killedBy, undefined, 'not a signal that it survived');
    for (const signal of ['SIGKILL', 'SIGTERM', 'SIGUSR1']) {
      const session = await agent.spawn('sleep', ['60']);
      await session.signal(signal);
      t.match(await session.exited, { signal, killedBy: 'request' });
    }
  });

  await t.test('a session that is disposed of leaves no process', async (t) => {
    const pids: number[] = [];
    for (const tty of [false, true]) {
      const { session, pid } = await started(agent, 'trap "" HUP TERM; sleep 60 & echo $!; yes', { tty });
      await session[Symbol.asyncDispose]();
      pids.push(pid, session.pid);
    }
    await gone(...pids);
    await eventuallyIdle(agent);
    t.ok(isAlive(agentd.pid));
  });
});

async function eventuallyIdle(agent: Agent): Promise<void> {
  while ((await agent.info()).sessionsRunning > 0);
}

overEachLine(async (t, { agent, agentd }) => {
  await t.test('when a host goes, its sessions go', async (t) => {
    const pids: number[] = [];
    const waiting: Promise<unknown>[] = [];
    for (const tty of [false, true]) {
      for (const script of [
        'sleep 60 & echo $!; wait',
        'trap "" HUP TERM; sleep 60 & echo $!; while :; do wait; done',
      ]) {
        const { session, pid } = await started(agent, script, { tty, killGraceMs: 50 });
        // One that ignored what it was sent is not forgotten for that.
        if (script.startsWith('trap')) await session.signal('SIGTERM');
        pids.push(pid, session.pid);
        waiting.push(refusal(session.closed));
      }
    }
    await agent[Symbol.asyncDispose]();
    await Promise.allSettled(waiting);
    await gone(...pids);
    t.match(await refusal(agent.exec('true')), { name: 'HawserError' }, 'a closed agent runs nothing');
    await using again = await agentd.connect();
    await eventuallyIdle(again);
    t.equal((await again.exec('echo', ['again'])).stdout, 'again\n');
  });

  await t.test('when the agent is ended, its sessions end', async (t) => {
    await using own = await startAgent();
    await using host = await own.connect();
    const { session, pid } = await started(host, 'trap "" TERM; sleep 60 & echo $!; while :; do wait; done', {
      killGraceMs: 50,
    });
    await session.signal('SIGTERM');
    const ended = once(own.child, 'exit');
    own.child.kill('SIGTERM');
    t.match(await session.exited, { signal: 'SIGKILL', killedBy: 'shutdown' });
    await ended;
    await gone(pid, session.pid);
    await eventually(() => !isAlive(own.pid));
  });
});
