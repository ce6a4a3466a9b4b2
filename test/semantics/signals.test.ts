import type { Session, SignalTarget } from '@hawser/host-client';
import { compile, gone, isAlive, overEachLine, Transcript } from './lines.js';

const reportSignals = compile('report-signals');

/** Everything but KILL and STOP, which nobody can wait for, and CHLD. */
const deliverable: readonly (readonly [name: string, number: number])[] = [
  ['SIGHUP', 1],
  ['SIGINT', 2],
  ['SIGQUIT', 3],
  ['SIGILL', 4],
  ['SIGTRAP', 5],
  ['SIGABRT', 6],
  ['SIGIOT', 6],
  ['SIGBUS', 7],
  ['SIGFPE', 8],
  ['SIGUSR1', 10],
  ['SIGSEGV', 11],
  ['SIGUSR2', 12],
  ['SIGPIPE', 13],
  ['SIGALRM', 14],
  ['SIGTERM', 15],
  ['SIGCONT', 18],
  ['SIGTSTP', 20],
  ['SIGTTIN', 21],
  ['SIGTTOU', 22],
  ['SIGURG', 23],
  ['SIGXCPU', 24],
  ['SIGXFSZ', 25],
  ['SIGVTALRM', 26],
  ['SIGPROF', 27],
  ['SIGWINCH', 28],
  ['SIGIO', 29],
  ['SIGPOLL', 29],
  ['SIGPWR', 30],
  ['SIGSYS', 31],
  ['SIGRTMIN', 34],
  ['SIGRTMIN+3', 37],
  ['SIGRTMAX-1', 63],
  ['SIGRTMAX', 64],
  ['TERM', 15],
  ['usr1', 10],
  ['15', 15],
  ['64', 64],
  ['rtmin+1', 35],
];

overEachLine(async (t, { agent }) => {
  for (const tty of [false, true]) {
    const how = tty ? 'in a terminal' : 'with pipes';

    await t.test(`every signal arrives under its number, ${how}`, async (t) => {
      await using session = await agent.spawn(reportSignals, [], { tty });
      const output = new Transcript(session.stdout);
      await output.until(`leader is ${session.pid}`);
      for (const [name, number] of deliverable) {
        await session.signal(name, { target: 'leader' });
        t.equal((await output.until(/leader got (\d+)\r?\n/))[1], String(number), name);
      }
    });

    await t.test(`the leader alone, or its group, ${how}`, async (t) => {
      await using session = await agent.spawn(reportSignals, ['fork'], { tty });
      const output = new Transcript(session.stdout);
      await output.until(/is \d+[^]*is \d+\r?\n/);
      const receivers = async (target: SignalTarget | undefined): Promise<string[]> => {
        await session.signal('SIGUSR1', target === undefined ? {} : { target });
        // The marker is sent to everyone after it: what came before that was for the first.
        await session.signal('SIGUSR2', { target: 'group' });
        const seen = { leader: false, child: false };
        const got: string[] = [];
        while (!seen.leader || !seen.child) {
          const [, who, number] = (await output.until(/(leader|child) got (\d+)\r?\n/)) as unknown as [
            string,
            'leader' | 'child',
            string,
          ];
          if (number === '12') seen[who] = true;
          else got.push(who);
        }
        return got.sort();
      };
      t.strictSame(await receivers('leader'), ['leader']);
      t.strictSame(await receivers('group'), ['child', 'leader']);
      t.strictSame(await receivers(undefined), ['child', 'leader'], 'the group is the default');
      if (tty) t.strictSame(await receivers('foreground'), ['child', 'leader'], 'it is the foreground group');
    });

    await t.test(`what cannot be is refused by name, ${how}`, async (t) => {
      await using session = await agent.spawn('cat', [], { tty });
      for (const signal of ['SIGNOTHING', '', '0', '65', '-9', 'SIGRTMIN+31', '9x'])
        await t.rejects(
          session.signal(signal),
          { name: 'HawserError', code: 'unknown_signal' },
          JSON.stringify(signal),
        );
      if (!tty)
        await t.rejects(session.signal('SIGTERM', { target: 'foreground' }), { code: 'not_a_terminal' });
      if (!tty) await t.rejects(session.resize({ rows: 1, cols: 1 }), { code: 'not_a_terminal' });
      t.ok(isAlive(session.pid), 'none of these did anything');
    });

    await t.test(`a session that has ended is refused, ${how}`, async (t) => {
      const session = await agent.spawn('true', [], { tty });
      await session.exited;
      await t.rejects(session.signal('SIGTERM'), { code: 'session_ended' });
      await t.rejects(session.resize({ rows: 1, cols: 1 }), { code: 'session_ended' });
      await session.kill();
      t.pass('to kill it is no error');
    });

    await t.test(
      `signals in the instant of the exit are acknowledged or refused, never lost, ${how}`,
      async (t) => {
        for (let i = 0; i < 50; i++) {
          const session = await agent.spawn('true', [], { tty });
          const outcomes = await Promise.allSettled(
            Array.from({ length: 4 }, () => session.signal('SIGCONT')),
          );
          const codes = outcomes.map((outcome) =>
            outcome.status === 'fulfilled' ? 'done' : (outcome.reason as { code: string }).code,
          );
          if (!codes.every((code) => code === 'done' || code === 'session_ended')) t.fail(codes.join(' '));
          await session.exited;
        }
        t.equal((await agent.info()).sessionsRunning, 0);
      },
    );
  }

  await t.test('while the leader is gone, its session has ended', async (t) => {
    const session = await agent.spawn('sh', ['-c', 'sleep 60 & echo $!']);
    const pid = Number((await new Transcript(session.stdout).until(/(\d+)\n/))[1]);
    await session.exited;
    await t.rejects(session.signal('SIGTERM'), { code: 'session_ended' });
    process.kill(pid);
    await session.closed;
  });

  await t.test('many signals arrive in the order in which they were sent', async (t) => {
    await using session = await agent.spawn(reportSignals);
    const output = new Transcript(session.stdout);
    await output.until('leader is');
    // Real-time signals queue, and of several pending the lowest comes first: one at a time keeps the order.
    const numbers = Array.from({ length: 100 }, (_, i) => 34 + ((i * 7) % 31));
    for (const number of numbers) {
      await session.signal(String(number));
      t.equal((await output.until(/got (\d+)\n/))[1], String(number));
    }
  });

  await t.test('a real-time signal sent often is delivered as often', async (t) => {
    await using session = await agent.spawn(reportSignals);
    const output = new Transcript(session.stdout);
    await output.until('leader is');
    await session.signal('SIGSTOP', { target: 'leader' });
    await Promise.all(Array.from({ length: 20 }, () => session.signal('SIGRTMIN+5', { target: 'leader' })));
    await session.signal('SIGCONT', { target: 'leader' });
    for (let i = 0; i < 20; i++) t.ok(await output.until('got 39\n'));
  });

  await t.test('a stopped command is no ended one, and can be killed', async (t) => {
    const session: Session = await agent.spawn('cat');
    await session.signal('SIGSTOP');
    session.stdin?.write('later');
    await session.signal('SIGCONT');
    await new Transcript(session.stdout).until('later');
    await session.signal('SIGSTOP');
    await session.kill();
    t.match(await session.exited, { signal: 'SIGKILL' });
    await gone(session.pid);
  });

  await t.test('the foreground group is the one of the job that runs', async (t) => {
    await using shell = await agent.spawn('bash', ['--norc', '-i'], {
      tty: true,
      env: { PS1: 'prompt> ', HISTFILE: '' },
    });
    const output = new Transcript(shell.stdout);
    await output.until('prompt> ');
    shell.stdin?.write(`${reportSignals}\n`);
    const pid = Number((await output.until(/leader is (\d+)/))[1]);
    await shell.signal('SIGUSR1', { target: 'foreground' });
    await output.until('leader got 10');
    await shell.signal('SIGKILL', { target: 'foreground' });
    await output.until('prompt> ');
    await gone(pid);
    shell.stdin?.write('echo still $((40 + 2))\n');
    await output.until('still 42');
    // Not with a signal that bash handles: of SIGHUP between two prompts it takes no notice.
    await shell.signal('SIGKILL', { target: 'foreground' });
    t.match(await shell.exited, { signal: 'SIGKILL', killedBy: 'request' }, 'at the prompt it is the shell');
  });
});
