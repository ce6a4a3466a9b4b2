import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Hawser, isAlive, Terminal, until, World } from './cli-world.js';

const world = new World();
t.before(() => world.startAgent());
t.teardown(() => world.close());

/** Starts a command detached. @returns its session's id. */
async function startDetached(options: readonly string[], ...command: string[]): Promise<string> {
  const { code, stdout, stderr } = await world.run(['exec', '-d', ...options, '--', ...command]);
  if (code !== 0 || !/^\S+\n$/.test(stdout.toString()))
    throw new Error(`exec -d: ${code} ${stdout.toString()} ${stderr}`);
  return stdout.toString().trim();
}

function inTerminal(name: string, body: (t: Test, terminal: Terminal) => Promise<void>) {
  return t.test(name, async (t) => {
    const terminal = new Terminal(world);
    t.teardown(() => terminal.close());
    await terminal.shows(/shell> /);
    await body(t, terminal);
  });
}

t.test('exec -d prints the session id, and attach has all of the output and the exit code', async (t) => {
  const id = await startDetached(
    ['--name', 'job', '--label', 'team=a'],
    'sh',
    '-c',
    'echo out; echo err >&2; sleep 0.3; echo late; exit 7',
  );
  const { code, stdout, stderr } = await world.run(['attach', '--from-start', '--no-stdin', id]);
  t.equal(code, 7);
  t.equal(stdout.toString(), 'out\nlate\n');
  t.equal(stderr, 'err\n');
  const again = await world.run(['attach', '--from-start', '--no-stdin', id]);
  t.match(again, { code: 7, stderr: 'err\n' }, 'also of one that has ended');
  t.equal(again.stdout.toString(), 'out\nlate\n');
  const unknown = await world.run(['attach', 'nobody-1']);
  t.equal(unknown.code, 125);
  t.match(unknown.stderr, /no session "nobody-1"/);
});

t.test('an attached host that is killed leaves the session to the next', async (t) => {
  const script = `trap 'echo $$ ended >${world.dir}/ended' EXIT; n=0; while read -r line; do n=$((n+1)); echo "$n $line"; done; exit $n`;
  const id = await startDetached(['-i'], 'sh', '-c', script);
  const first = world.start(['attach', id]);
  first.child.stdin?.write('one\ntwo\n');
  await first.printed(/1 one\n2 two\n/);
  first.child.kill('SIGKILL');
  await first.finished;
  t.notOk(existsSync(join(world.dir, 'ended')));
  const second = world.start(['attach', '--from-start', id]);
  await second.printed(/^1 one\n2 two\n/);
  second.child.stdin?.end('three\n');
  const { code, stdout } = await second.finished;
  t.equal(code, 3);
  t.equal(stdout.toString(), '1 one\n2 two\n3 three\n');
});

t.test('several read, one writes, and whoever wrote before is told', async (t) => {
  const id = await startDetached(['-i'], 'sh', '-c', 'while read -r line; do echo "got $line"; done; exit 4');
  const reader = world.start(['attach', '--no-stdin', '--from-start', id]);
  const first = world.start(['attach', '--from-start', id]);
  first.child.stdin?.write('a\n');
  await Promise.all([first.printed(/got a\n/), reader.printed(/got a\n/)]);
  const second = world.start(['attach', '--from-start', id]);
  await second.printed(/got a\n/);
  second.child.stdin?.write('b\n');
  const all: Hawser[] = [reader, first, second];
  await Promise.all(all.map((one) => one.printed(/got a\ngot b\n/)));
  await until(
    () => (/stdin_taken/.test(first.stderr) ? true : undefined),
    () => `the first's stderr: ${first.stderr}`,
  );
  first.child.stdin?.on('error', () => undefined);
  first.child.stdin?.write('nobody hears this\n');
  second.child.stdin?.end('c\n');
  for (const one of all) {
    const { code, stdout } = await one.finished;
    t.equal(code, 4);
    t.equal(stdout.toString(), 'got a\ngot b\ngot c\n');
  }
  t.equal(reader.stderr, '');
  t.equal(second.stderr, '');
});

t.test('bytes that are not kept any more are named', async (t) => {
  const bytes = 6 * 1024 * 1024;
  const id = await startDetached(
    ['--when-full', 'drop-oldest', '--history', '0'],
    'sh',
    '-c',
    `seq 1 10000000 | head -c ${bytes}; echo done >${world.dir}/all; sleep 600`,
  );
  await world.written('all');
  const follower = world.start(['attach', '--from-start', '--no-stdin', '--json', id]);
  const gap = await until(
    () =>
      /^hawser: (\d+) bytes of stdout are missing here, from (\d+) to (\d+)/m.exec(follower.stderr) ??
      undefined,
    () => `a gap in ${follower.stderr}`,
  );
  const [missing = 0, from = 0, to = 0] = gap.slice(1).map(Number);
  t.equal(missing, to - from);
  const whole = await world.run(['exec', '--', 'sh', '-c', `seq 1 10000000 | head -c ${bytes}`]);
  const kept = Buffer.concat([whole.stdout.subarray(0, from), whole.stdout.subarray(to)]);
  const tail = kept.subarray(-20).toString();
  await follower.printed(new RegExp(`${tail}$`));
  follower.child.kill('SIGTERM');
  const { code, stdout } = await follower.finished;
  t.equal(code, 143, 'the signal ended the following');
  t.equal(
    createHash('sha256').update(stdout).digest('hex'),
    createHash('sha256').update(kept).digest('hex'),
    'everything else is there',
  );
  t.match(follower.stderr, /detached from session/);
});

t.test('a key finds its session; --on-disconnect says what becomes of one that is left', async (t) => {
  const runs = join(world.dir, 'runs');
  const command = ['--', 'sh', '-c', `echo run >>${runs}; echo once; exit 3`];
  for (let n = 0; n < 2; n++) {
    const { code, stdout } = await world.run([
      'exec',
      '--key',
      `key-${process.pid}`,
      '--history',
      '64K',
      ...command,
    ]);
    t.equal(code, 3);
    t.equal(stdout.toString(), 'once\n');
  }
  t.equal(readFileSync(runs, 'utf8'), 'run\n', 'it ran once');
  const kept = world.start(['exec', '--on-disconnect', 'keep', '--', 'sh', '-c', 'echo $$; exec sleep 600']);
  const ended = world.start(['exec', '--', 'sh', '-c', 'echo $$; exec sleep 600']);
  await Promise.all([kept.printed(/\d+\n/), ended.printed(/\d+\n/)]);
  for (const one of [kept, ended]) one.child.kill('SIGKILL');
  const [keptPid, endedPid] = [(await kept.finished).stdout, (await ended.finished).stdout].map(Number);
  await world.stopAgent('SIGTERM'); // which does not wait for their grace
  t.notOk(isAlive(endedPid as number));
  t.notOk(isAlive(keptPid as number), 'the agent ends what it kept');
  await world.startAgent();
});

t.test('options that make no sense are refused', async (t) => {
  for (const [args, says] of [
    [['exec', '--detach-keys', 'ctrl-1', '--', 'true'], /ctrl-1/],
    [['exec', '--on-disconnect', 'stop', '--', 'true'], /'stop'/],
    [['exec', '--when-full', 'wait', '--', 'true'], /block, drop-oldest/],
    [['exec', '--history', '1G', '--', 'true'], /'1G'/],
    [['exec', '--history', '100M', '--', 'true'], /historyBytes 104857600/],
    [['attach'], /missing required argument/],
    [['attach', 'a', 'b', 'c'], /too many arguments/],
  ] as const) {
    const { code, stderr } = await world.run(args);
    t.equal(code, 125);
    t.match(stderr, says);
  }
});

inTerminal('the detach keys leave a shell running, and attach finds it as it was', async (t, terminal) => {
  terminal.type(
    "hawser exec -it -e HOME=$HOME -e HISTFILE= -e 'PS1=guest> ' -- bash --noprofile --norc",
    'Enter',
  );
  await terminal.shows(/guest> /);
  terminal.type('x=kept; echo $$ >~/shellpid; echo first', 'Enter');
  await terminal.shows(/^first$/m);
  // One key of the two is the shell's: it brings the last line back.
  terminal.type('', 'C-p');
  await terminal.shows(/guest> x=kept; echo \$\$ >~\/shellpid; echo first$/m);
  terminal.type('', 'C-u', 'C-p', 'C-q');
  const [, id] = await terminal.shows(/hawser: detached from session (\S+)\n+shell> /);
  terminal.type('clear; echo code=$?', 'Enter');
  await terminal.shows(/^code=0$/m);
  t.ok(isAlive(Number(await world.written('shellpid'))), 'it runs');
  terminal.type(`clear; hawser attach ${id}; echo code=$?`, 'Enter');
  terminal.type('', 'Enter');
  await terminal.shows(/guest> /);
  terminal.type('echo x=$x; stty size', 'Enter');
  await terminal.shows(/^x=kept\n24 80$/m);
  terminal.type('exit 9', 'Enter');
  await terminal.shows(/^code=9$/m);
  t.pass();
});

inTerminal('other detach keys, and none', async (t, terminal) => {
  terminal.type('hawser exec -it --detach-keys ctrl-a,d -- cat', 'Enter');
  terminal.type('hello', 'Enter');
  await terminal.shows(/^hello\nhello$/m);
  terminal.type('', 'C-a', 'd');
  await terminal.shows(/detached from session/);
  terminal.type('clear; hawser exec -it --detach-keys= -e HISTFILE= -- bash --noprofile --norc', 'Enter');
  await terminal.shows(/bash-[\d.]+[#$] /);
  terminal.type('', 'C-p', 'C-q', 'C-u');
  terminal.type('echo $((20+3))', 'Enter');
  await terminal.shows(/^23$/m);
  terminal.type('exit', 'Enter');
  await terminal.shows(/shell> $/m);
  t.pass();
});

inTerminal('a terminal that is closed leaves an attached session alone', async (t, terminal) => {
  const id = await startDetached(
    ['-it'],
    'bash',
    '--noprofile',
    '--norc',
    '-c',
    `echo $$ >${world.dir}/pid2; exec cat`,
  );
  terminal.type(`hawser attach ${id}`, 'Enter');
  const pid = Number(await world.written('pid2'));
  // It is the one who writes, before the other comes.
  terminal.type('hello', 'Enter');
  await terminal.shows(/^hello\nhello$/m);
  const other = new Terminal(world);
  t.teardown(() => other.close());
  await other.shows(/shell> /);
  other.type(`hawser attach ${id}`, 'Enter');
  // Taken over: the terminal is itself again, and goes on reading.
  await terminal.shows(/stdin_taken/);
  other.hangUp();
  terminal.type('', 'C-c');
  await terminal.shows(/detached from session \S+\n+shell> $/m);
  t.ok(isAlive(pid));
  process.kill(pid, 'SIGKILL');
});

t.test('a line that is away for a while is told, and the command goes on', async (t) => {
  // Between the two a socat that can be stopped.
  const path = join(world.dir, 'between.sock');
  const between = () =>
    spawn('socat', [`UNIX-LISTEN:${path},fork,unlink-early`, `UNIX-CONNECT:${world.line.slice(5)}`]);
  let socat = between();
  const stopSocat = async (): Promise<void> => {
    const gone = new Promise((resolve) => socat.once('exit', resolve));
    // Its children carry the connections.
    for (const pid of readFileSync(`/proc/${socat.pid}/task/${socat.pid}/children`, 'utf8').split(' '))
      if (pid !== '') process.kill(Number(pid), 'SIGKILL');
    socat.kill('SIGKILL');
    await gone;
  };
  await until(
    () => (existsSync(path) ? true : undefined),
    () => 'the socket between',
  );
  writeFileSync(join(world.dir, 'go'), '');
  const script = 'echo one; while [ ! -e gone ]; do sleep 0.05; done; echo two';
  const hawser = world.start([
    'exec',
    '--verbose',
    '-w',
    world.dir,
    `unix:${path}`,
    '--',
    'sh',
    '-c',
    script,
  ]);
  await hawser.printed(/one\n/);
  await stopSocat();
  await until(
    () => (/being resumed/.test(hawser.stderr) ? true : undefined),
    () => `what it says: ${hawser.stderr}`,
  );
  writeFileSync(join(world.dir, 'gone'), '');
  socat = between();
  const { code, stdout, stderr } = await hawser.finished;
  await stopSocat();
  t.equal(code, 0);
  t.equal(stdout.toString(), 'one\ntwo\n');
  t.match(stderr, /connected again, nothing is lost/);
});
