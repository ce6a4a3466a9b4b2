import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { isAlive, Terminal, until, World } from './cli-world.js';

const world = new World();
t.before(() => world.startAgent());
t.teardown(() => world.close());

/** Runs the body in a terminal of its own, 80 by 24 where nothing else is said. */
function inTerminal(name: string, body: (t: Test, terminal: Terminal) => Promise<void>) {
  return t.test(name, async (t) => {
    const terminal = new Terminal(world);
    t.teardown(() => terminal.close());
    await terminal.shows(/shell> /);
    await body(t, terminal);
  });
}

// The first line has the size, which may change.
const saveModes = 'stty -a | tail -n +2 >modes.before';
const sameModes = 'stty -a | tail -n +2 >modes.after; cmp modes.before modes.after && echo same modes';
/** Of the one `hawser` that was called as `marked`. */
const pidOfHawser = () =>
  until(
    () => {
      const { stdout } = spawnSync('pgrep', ['-f', `cli/main.ts exec -it -e MARK=${world.dir}`], {
        encoding: 'utf8',
      });
      return Number(stdout.split('\n')[0]) || undefined;
    },
    () => 'a running hawser',
  );
/** A call that `pidOfHawser` finds. */
const marked = `hawser exec -it -e MARK=${world.dir} -e HISTFILE= --`;

inTerminal(
  'a shell has a terminal of the right size from the start, and the modes come back',
  async (t, terminal) => {
    terminal.type(saveModes, 'Enter');
    terminal.type("hawser exec -it -- sh -c 'stty size; tty; echo term=$TERM; exit 7'", 'Enter');
    await terminal.shows(/24 80\n\/dev\/pts\/\d+\nterm=(screen|tmux)\S*\n/);
    terminal.type(`echo code=$?; ${sameModes}`, 'Enter');
    await terminal.shows(/code=7\nsame modes/);
    t.pass();
  },
);

inTerminal('-e TERM wins over the local one', async (t, terminal) => {
  terminal.type("hawser exec -it -e TERM=vt52 -- sh -c 'echo term=$TERM'", 'Enter');
  await terminal.shows(/term=vt52/);
  t.pass();
});

inTerminal('Ctrl-C, Ctrl-Z and Ctrl-D are keys for the command', async (t, terminal) => {
  terminal.type("hawser exec -it -e HISTFILE= -e 'PS1=guest> ' -- bash --noprofile --norc", 'Enter');
  await terminal.shows(/guest> /);
  terminal.type('sleep 600', 'Enter');
  await terminal.shows(/guest> sleep 600\n/);
  terminal.type('', 'C-c');
  await terminal.shows(/\^C\n+guest> /);
  terminal.type('echo status=$?', 'Enter');
  await terminal.shows(/status=130/);
  terminal.type('sleep 601', 'Enter');
  await terminal.shows(/guest> sleep 601\n/);
  terminal.type('', 'C-z');
  await terminal.shows(/Stopped +sleep 601/);
  terminal.type('kill %1; fg', 'Enter');
  await terminal.shows(/Terminated|guest> $/m);
  terminal.type('', 'C-d');
  await terminal.shows(/(exit|guest> exit)\n+shell> /);
  t.pass();
});

inTerminal('without a raw terminal Ctrl-C is a signal for the command', async (t, terminal) => {
  for (const options of ['', '-i', '-t']) {
    const command = `sh -c "trap 'echo int; exit 3' INT; echo up ${options}; while :; do sleep 0.05; done"`;
    terminal.type(`hawser exec ${options} -- ${command}; echo code$?${options}`, 'Enter');
    await terminal.shows(new RegExp(`^up ?${options}$`, 'm'));
    terminal.type('', 'C-c');
    await terminal.shows(new RegExp(`^(\\^C)?int\ncode3${options}$`, 'm'));
    t.pass(options);
  }
});

inTerminal('stopped and continued, it is raw again', async (t, terminal) => {
  terminal.type(`${saveModes}; ${marked} bash --norc --noprofile`, 'Enter');
  await terminal.shows(/bash-[\d.]+[#$] /);
  process.kill(await pidOfHawser(), 'SIGSTOP');
  await terminal.shows(/Stopped +/);
  terminal.type(`clear; ${sameModes}`, 'Enter');
  await terminal.shows(/^same modes/m);
  terminal.resize(90, 20);
  terminal.type('fg', 'Enter');
  await terminal.shows(/^hawser exec/m);
  terminal.type('stty size; sleep 600', 'Enter');
  await terminal.shows(/^20 90$/m);
  terminal.type('', 'C-c');
  terminal.type('echo status=$?; exit', 'Enter');
  await terminal.shows(/status=130\n[\s\S]*shell> $/m);
  terminal.type(`clear; ${sameModes}`, 'Enter');
  await terminal.shows(/^same modes/m);
  t.pass();
});

inTerminal('a program sees the size change', async (t, terminal) => {
  terminal.type(
    `hawser exec -it -- bash -c 'trap "stty size" WINCH; echo ready; while :; do sleep 0.05; done'`,
    'Enter',
  );
  await terminal.shows(/^ready/m);
  terminal.resize(100, 30);
  await terminal.shows(/^30 100$/m);
  for (let n = 1; n <= 20; n += 1) terminal.resize(60 + n, 20 + n);
  await terminal.shows(/^40 80$/m);
  terminal.resize(70, 33);
  await terminal.shows(/^33 70$/m);
  terminal.type('', 'C-c');
  await terminal.shows(/shell> $/m);
  t.pass();
});

inTerminal('every byte value passes through a raw terminal', async (t, terminal) => {
  // Towards the command: keys of every value that tmux can be made to send.
  terminal.type(
    'hawser exec -it --detach-keys "" -- sh -c \'stty raw -echo; echo ready; head -c 128 | od -An -v -tx1 -w16 | tr "\\n" "|"; stty sane\'',
    'Enter',
  );
  await terminal.shows(/^ready/m);
  terminal.bytes(Array.from({ length: 128 }, (_, n) => n));
  const rows = Array.from({ length: 8 }, (_row, row) =>
    Array.from({ length: 16 }, (_, n) => ` ${(row * 16 + n).toString(16).padStart(2, '0')}`).join(''),
  ).join('|');
  await until(
    () => (terminal.screen().replaceAll('\n', '').includes(rows) ? true : undefined),
    () => `${rows} on the screen:\n${terminal.screen()}`,
  );
  t.pass();
});

/** What is used of node-pty, which is agentd's dependency; with `encoding: null` it hands out buffers. */
interface NodePty {
  spawn(
    file: string,
    args: readonly string[],
    options: { cols: number; rows: number; env: NodeJS.ProcessEnv; encoding: null },
  ): { onData(listener: (data: Buffer) => void): void; write(data: Buffer): void; kill(): void };
}

t.test('every byte value passes both ways between two terminals', async (t) => {
  const fromAgentd = createRequire(new URL('../agentd/package.json', import.meta.url));
  const nodePty = fromAgentd('node-pty') as NodePty;
  const pty = nodePty.spawn(
    world.hawserPath,
    [
      'exec',
      '-it',
      '--detach-keys',
      '',
      '--',
      'sh',
      '-c',
      'stty raw -echo; echo ready; head -c 2560 | tee bytes'.replace('bytes', join(world.dir, 'bytes')),
    ],
    {
      cols: 80,
      rows: 24,
      env: { ...world.env, TERM: 'xterm' },
      encoding: null,
    },
  );
  const every = Buffer.from(Array.from({ length: 2560 }, (_, n) => n % 256));
  const chunks: Buffer[] = [];
  pty.onData((data) => chunks.push(data));
  await until(
    () => (Buffer.concat(chunks).includes('ready\n') ? true : undefined),
    () => `ready in ${Buffer.concat(chunks).toString()}`,
  );
  pty.write(every);
  const got = await until(
    () => {
      const bytes = Buffer.concat(chunks);
      const from = bytes.indexOf('ready\n') + 'ready\n'.length;
      return bytes.length >= from + every.length ? bytes.subarray(from) : undefined;
    },
    () => `${Buffer.concat(chunks).length} bytes of ${every.length}`,
  );
  t.same(readFileSync(join(world.dir, 'bytes')), every, 'towards the command');
  t.same(got, every, 'and back');
  pty.kill();
});

inTerminal('the modes come back after SIGTERM and SIGHUP, which the command gets', async (t, terminal) => {
  terminal.type(saveModes, 'Enter');
  for (const [signal, code] of [
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    terminal.type(
      `clear; ${marked} sh -c 'echo up ${signal}; exec sleep 600'; echo code=$?; ${sameModes}`,
      'Enter',
    );
    await terminal.shows(new RegExp(`^up ${signal}$`, 'm'));
    process.kill(await pidOfHawser(), signal);
    await terminal.shows(new RegExp(`code=${code}\nsame modes`));
    t.pass(signal);
  }
});

inTerminal('a shell that ignores SIGTERM does not keep the program', async (t, terminal) => {
  terminal.type(saveModes, 'Enter');
  terminal.type(`clear; ${marked} bash --norc --noprofile -i; echo code=$?; ${sameModes}`, 'Enter');
  await terminal.shows(/bash-[\d.]+[#$] /);
  process.kill(await pidOfHawser(), 'SIGTERM');
  await terminal.shows(/code=137\nsame modes/);
  t.pass();
});

inTerminal('the modes come back when a command does not start', async (t, terminal) => {
  terminal.type(`${saveModes}; hawser exec -it -- no-such-program; echo code=$?; ${sameModes}`, 'Enter');
  await terminal.shows(/hawser: .*no-such-program.*\n(.*\n)?code=127\nsame modes/);
  t.pass();
});

inTerminal('a closed terminal ends the command', async (t, terminal) => {
  terminal.type(`${marked} sh -c 'echo $$ >${world.dir}/pid; echo up; exec sleep 600'`, 'Enter');
  await terminal.shows(/^up$/m);
  const pid = Number(readFileSync(join(world.dir, 'pid'), 'utf8'));
  const hawser = await pidOfHawser();
  terminal.type('', 'F12'); // nothing: the pane is alive
  terminal.hangUp();
  for (const gone of [hawser, pid])
    await until(
      () => (isAlive(gone) ? undefined : true),
      () => `the end of ${gone}`,
    );
  t.pass();
});

inTerminal('vim edits and saves', async (t, terminal) => {
  terminal.type(`hawser exec -it -w ${world.dir} -- vim -u NONE -N edited.txt`, 'Enter');
  await terminal.shows(/edited\.txt" \[New\]|"edited\.txt"/);
  terminal.type('ihello from vim', 'Enter');
  terminal.type('second line', 'Escape');
  await terminal.shows(/hello from vim\nsecond line/);
  terminal.type(':wq', 'Enter');
  await terminal.shows(/shell> $/m);
  t.equal(readFileSync(join(world.dir, 'edited.txt'), 'utf8'), 'hello from vim\nsecond line\n');
});

inTerminal('less scrolls and searches', async (t, terminal) => {
  writeFileSync(
    join(world.dir, 'long.txt'),
    Array.from({ length: 500 }, (_, n) => `line ${n + 1}\n`).join(''),
  );
  terminal.type(`hawser exec -it -- less ${world.dir}/long.txt`, 'Enter');
  await terminal.shows(/^line 1\nline 2\n[\s\S]*line 23\n/m);
  terminal.type('', 'Space');
  await terminal.shows(/^line 46$/m);
  terminal.type('/line 321', 'Enter');
  await terminal.shows(/^line 321\nline 322/m);
  terminal.type('G');
  await terminal.shows(/^line 500$/m);
  terminal.type('q');
  await terminal.shows(/shell> $/m);
  t.pass();
});

inTerminal('top shows processes and quits', async (t, terminal) => {
  terminal.type('hawser exec -it -- top -d 1', 'Enter');
  await terminal.shows(/^top - [\s\S]*PID +USER[\s\S]*\d+ root/m);
  terminal.type('q');
  await terminal.shows(/shell> $/m);
  t.pass();
});

inTerminal('python3 reads lines, and Ctrl-D ends it', async (t, terminal) => {
  terminal.type('hawser exec -it --inherit-env -- python3 -q', 'Enter');
  await terminal.shows(/^>>> /m);
  terminal.type('import os; print(6 * 7, os.get_terminal_size().columns)', 'Enter');
  await terminal.shows(/^42 80$/m);
  terminal.type('', 'C-d');
  await terminal.shows(/shell> $/m);
  t.pass();
});

inTerminal('tmux runs inside', async (t, terminal) => {
  const inner = `hawser-inner-${process.pid}`;
  t.teardown(() => spawnSync('tmux', ['-L', inner, 'kill-server']));
  terminal.type(
    `hawser exec -it --inherit-env -e TMUX= -e LANG=C.UTF-8 -e HISTFILE= -- tmux -L ${inner} -f /dev/null new-session 'PS1="inner> " bash --norc --noprofile'`,
    'Enter',
  );
  await terminal.shows(/^inner> [\s\S]*\[0\] 0:bash/m);
  terminal.type('', 'C-b', '"');
  await terminal.shows(/─{40}/);
  terminal.type('echo in the $((1+1))nd pane', 'Enter');
  await terminal.shows(/in the 2nd pane/);
  terminal.resize(120, 40);
  await terminal.shows(/─{120}/);
  terminal.type(`tmux -L ${inner} kill-server`, 'Enter');
  await terminal.shows(/shell> $/m);
  t.pass();
});

inTerminal('the modes come back when the agent is killed', async (t, terminal) => {
  terminal.type(saveModes, 'Enter');
  terminal.type(
    `clear; hawser exec -it --connect-timeout 1s -- sh -c 'echo up; exec sleep 600'; echo code=$?; ${sameModes}`,
    'Enter',
  );
  await terminal.shows(/^up$/m);
  await world.stopAgent('SIGKILL');
  await terminal.shows(/hawser: .*\n(.*\n)?code=125\nsame modes/);
  t.pass();
});
