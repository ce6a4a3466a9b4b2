import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { until, World } from './cli-world.js';

const world = new World();
t.before(() => world.startAgent());
t.teardown(() => world.close());

t.test('the exit code is mirrored', async (t) => {
  for (const code of [0, 1, 42, 125, 126, 127, 255])
    t.equal((await world.run(['exec', '--', 'sh', '-c', `exit ${code}`])).code, code);
  t.equal((await world.run(['exec', '--', 'sh', '-c', 'kill -TERM $$'])).code, 143);
  t.equal((await world.run(['exec', '--', 'sh', '-c', 'kill -KILL $$'])).code, 137);
});

t.test('a command that does not start is told from one that fails', async (t) => {
  const missing = await world.run(['exec', '--', 'no-such-program']);
  t.equal(missing.code, 127);
  t.match(missing.stderr, /^hawser: .*no-such-program/);
  writeFileSync(join(world.dir, 'plain'), 'x');
  const plain = await world.run(['exec', '--', join(world.dir, 'plain')]);
  t.equal(plain.code, 126);
  t.match(plain.stderr, /^hawser: .*plain/);
  writeFileSync(join(world.dir, 'script'), '#!/no/such/interpreter\n', { mode: 0o755 });
  t.equal((await world.run(['exec', '--', join(world.dir, 'script')])).code, 127);
  const nowhere = await world.run(['exec', '-w', '/no/such/dir', '--', 'true']);
  t.equal(nowhere.code, 125);
  t.match(nowhere.stderr, /no\/such\/dir/);
});

t.test('a missing line, a dead line and bad options end with 125 and say so', async (t) => {
  const none = await world.run(['exec', '--', 'true'], { env: { HAWSER_LINE: '' } });
  t.equal(none.code, 125);
  t.match(none.stderr, /no line.*HAWSER_LINE/);
  const dead = await world.run(['exec', 'unix:/no/such.sock', '--', 'true']);
  t.equal(dead.code, 125);
  t.match(dead.stderr, /^hawser: .*\/no\/such\.sock/);
  const value = await world.run(['exec', '--timeout', '5', '--', 'true']);
  t.equal(value.code, 125);
  t.match(value.stderr, /--timeout.*'5'/);
  const misplaced = await world.run(['exec', world.line, 'ls', '-l']);
  t.equal(misplaced.code, 125);
  t.match(misplaced.stderr, /comes after "--"/);
  t.match((await world.run(['exec'])).stderr, /no command/);
  t.match((await world.run(['exec', 'a', 'b', '--', 'true'])).stderr, /too many arguments/);
  t.match((await world.run(['exce'])).stderr, /unknown command.*exec/s);
});

t.test('options reach the command', async (t) => {
  const script = 'echo "$A|$B|$HERE|$(pwd)|$(umask)|$(ulimit -Sn)|$(ulimit -Hn)|$1"';
  const { stdout, stderr } = await world.run(
    [
      'exec',
      '-e',
      'A=1=2',
      '--env',
      'B=',
      '-e',
      'HERE',
      '-e',
      'NOT_HERE',
      '-w',
      '/tmp',
      '--umask',
      '027',
      '--rlimit',
      'nofile=64:128',
      '--',
      'sh',
      '-c',
      script,
      'sh',
      '-it',
    ],
    { env: { HERE: 'local' } },
  );
  t.equal(stdout.toString(), '1=2||local|/tmp|0027|64|128|-it\n', stderr);
  t.match((await world.run(['exec', '-u', 'nobody', '--', 'id', '-un'])).stdout.toString(), /^nobody\n/);
  t.match((await world.run(['exec', '--', 'env'])).stdout.toString(), /^(?!.*HAWSER_LINE)/s);
});

t.test('a command behind a second -- keeps it', async (t) => {
  const { stdout } = await world.run(['exec', '--', 'printf', '%s\n', '--', '-t', '--help', '']);
  t.equal(stdout.toString(), '--\n-t\n--help\n\n');
});

t.test('stdin goes to the command with -i only', async (t) => {
  t.equal(
    (await world.run(['exec', '-i', '--', 'wc', '-c'], { input: 'x'.repeat(100_000) })).stdout.toString(),
    '100000\n',
  );
  t.equal((await world.run(['exec', '--', 'wc', '-c'], { input: 'xxx' })).stdout.toString(), '0\n');
  const every = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
  t.same((await world.run(['exec', '-i', '--', 'cat'], { input: every })).stdout, every);
  t.equal(
    (await world.run(['exec', '-i', '--', 'true'], { input: Buffer.alloc(5_000_000) })).code,
    0,
    'a command that does not read',
  );
});

t.test('stdout and stderr stay apart, and whole', async (t) => {
  const { stdout, stderr, code } = await world.run([
    'exec',
    '--',
    'sh',
    '-c',
    'echo out; echo err >&2; exit 3',
  ]);
  t.same([stdout.toString(), stderr, code], ['out\n', 'err\n', 3]);
  const full = await world.shell('hawser exec -- head -c 1000000 /dev/zero 2>&1 | (sleep 0.5; wc -c)');
  t.equal(full.stdout.toString(), '1000000\n', 'a slow reader gets all of it');
});

t.test('200 MB through stdin and stdout arrive with their checksum', async (t) => {
  const { stdout } = await world.shell(
    'head -c 200000000 /dev/urandom | tee >(sha256sum >sent) | hawser exec -i -- cat | sha256sum; wait; sleep 0.1; cat sent',
  );
  const [got, sent] = stdout.toString().trim().split('\n');
  t.equal(got, sent);
  t.match(got, /^[0-9a-f]{64}/);
  const file = await world.shell(
    'head -c 30000000 /dev/urandom >big; hawser exec -i -- cat <big >copy; cmp big copy',
  );
  t.equal(file.code, 0, file.stderr);
  const expected = createHash('sha256')
    .update(readFileSync(join(world.dir, 'big')))
    .digest('hex');
  t.equal((await world.shell('hawser exec -i -- sha256sum <big')).stdout.toString().slice(0, 64), expected);
});

t.test('it ends with the leader, although a background process holds the output', async (t) => {
  const { stdout, code } = await world.run(['exec', '--', 'sh', '-c', 'sleep 60 & echo hi; exit 5']);
  t.same([stdout.toString(), code], ['hi\n', 5]);
});

t.test('a reader that goes away ends the command quietly', async (t) => {
  const { stdout, stderr } = await world.shell(
    `hawser exec -- sh -c 'echo $$ >pid; exec yes' | head -1; echo \${PIPESTATUS[0]}`.replace(
      '>pid',
      `>${world.dir}/pid`,
    ),
  );
  t.equal(stdout.toString(), 'y\n141\n');
  t.equal(stderr, '');
  const pid = readFileSync(join(world.dir, 'pid'), 'utf8').trim();
  await until(
    () => (existsSync(`/proc/${pid}`) ? undefined : true),
    () => `the end of yes, pid ${pid}`,
  );
});

t.test('output that cannot be written is an error with its reason', async (t) => {
  const { stderr, code } = await world.shell('hawser exec -- yes >/dev/full');
  t.equal(code, 125);
  t.match(stderr, /^hawser: .*ENOSPC/);
});

t.test('a signal ends it when only a reader that does not read is left', async (t) => {
  const { stdout } = await world.shell(`
    mkfifo stalled; exec 3<>stalled
    hawser exec -- sh -c 'head -c 300000 /dev/zero; echo >${world.dir}/written' >stalled 3<&- & pid=$!
    until [ -e written ]; do sleep 0.05; done
    while kill -TERM $pid 2>&-; do sleep 0.05; done
    wait $pid; echo code=$?`);
  t.equal(stdout.toString(), 'code=143\n');
});

t.test('signals are passed on', async (t) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const) {
    const name = signal.slice(3);
    const hawser = world.start([
      'exec',
      '--',
      'bash',
      '-c',
      `trap 'echo got ${name}; exit 9' ${name}; echo ready; while :; do sleep 0.05; done`,
    ]);
    await hawser.printed(/ready/);
    hawser.child.kill(signal);
    const { stdout, code } = await hawser.finished;
    t.same([stdout.toString(), code], [`ready\ngot ${name}\n`, 9]);
  }
  const sleeping = world.start(['exec', '--', 'sh', '-c', 'echo ready; exec sleep 60']);
  await sleeping.printed(/ready/);
  sleeping.child.kill('SIGTERM');
  t.equal((await sleeping.finished).code, 143);
});

t.test('a second interrupt kills a command that survives the first', async (t) => {
  const script = "trap 'echo heard' INT; echo ready; while :; do sleep 60; done";
  const hawser = world.start(['exec', '--', 'sh', '-c', script]);
  // One at a time, whenever it says that it lives: the one that kills it is the last.
  hawser.child.stdout?.on('data', () => hawser.child.kill('SIGINT'));
  t.equal((await hawser.finished).code, 137);
});

t.test('an interrupt before anything answers ends the attempt', async (t) => {
  const hawser = world.start(['exec', 'exec:echo up >&2; exec sleep 60', '--', 'true']);
  await until(
    () => (hawser.stderr.includes('up') ? true : undefined),
    () => 'the carrier to start',
  );
  hawser.child.kill('SIGINT');
  t.equal((await hawser.finished).code, 130);
});

t.test('--timeout ends the command with 124', async (t) => {
  t.equal((await world.run(['exec', '--timeout', '200ms', '--', 'sleep', '60'])).code, 124);
  const hawser = await world.run([
    'exec',
    '--timeout',
    '1s',
    '--kill-signal',
    'INT',
    '--',
    'bash',
    '-c',
    "trap 'echo int; exit 3' INT; while :; do sleep 0.05; done",
  ]);
  t.same([hawser.code, hawser.stdout.toString(), hawser.stderr], [124, 'int\n', '']);
});

t.test('--json prints the exit record or the error as the last line', async (t) => {
  const ended = await world.run(['exec', '--json', '--', 'sh', '-c', 'echo hello; echo warn >&2; exit 7']);
  t.equal(ended.stdout.toString(), 'hello\n');
  const [warning, line] = ended.stderr.trimEnd().split('\n');
  t.equal(warning, 'warn');
  const record = JSON.parse(line ?? '');
  t.match(record, {
    code: 7,
    signal: null,
    stdout: { bytes: 6, dropped: 0 },
    stderr: { bytes: 5 },
    outputComplete: true,
  });
  const failed = await world.run(['exec', '--json', '--', 'no-such-program']);
  t.match(JSON.parse(failed.stderr), { error: { code: 'not_found', errno: 'ENOENT' } });
  t.type(JSON.parse(failed.stderr).error.stage, 'string');
  t.equal(failed.code, 127);
});

t.test('a terminal without -i needs none here', async (t) => {
  const { stdout, code } = await world.run([
    'exec',
    '-t',
    '-e',
    'TERM=dumb',
    '--',
    'sh',
    '-c',
    'tty <&1; echo $TERM; cat; exit 4',
  ]);
  t.match(stdout.toString(), /^\/dev\/pts\/\d+\r\ndumb\r\n/);
  t.equal(code, 4);
  const refused = await world.run(['exec', '-it', '--', 'true']);
  t.equal(refused.code, 125);
  t.match(refused.stderr, /the input device is not a TTY/);
});

t.test('an agent that dies is an error with 125, after what it had sent', async (t) => {
  await world.stopAgent();
  await world.startAgent();
  const hawser = world.start([
    'exec',
    '--connect-timeout',
    '1s',
    '--',
    'sh',
    '-c',
    'echo before; exec sleep 60',
  ]);
  await hawser.printed(/before/);
  await world.stopAgent('SIGKILL');
  const { code, stderr, stdout } = await hawser.finished;
  t.equal(code, 125);
  t.equal(stdout.toString(), 'before\n');
  t.match(stderr, /^hawser: /);
  await world.startAgent();
});

t.test('doctor says what answers', async (t) => {
  const { stdout, code, stderr } = await world.run(['doctor']);
  t.equal(code, 0, stderr);
  for (const word of [
    'line',
    'agent',
    'generation',
    'boot',
    'epoch',
    'features',
    'limits',
    'ping',
    'median',
    'exec',
    'sessions',
    'counters',
  ])
    t.match(stdout.toString(), word);
  const asJson = await world.run(['doctor', '--json']);
  t.equal(asJson.stderr, '');
  const json = JSON.parse(asJson.stdout.toString());
  t.match(json, {
    pingMs: { count: 20, min: Number, median: Number, max: Number },
    exec: { cmd: 'true', ms: Number },
  });
  t.ok(json.pingMs.min <= json.pingMs.median && json.pingMs.median <= json.pingMs.max);
});

t.test('doctor explains when nothing answers', async (t) => {
  const nobody = await world.run(['doctor', 'unix:/no/such.sock']);
  t.equal(nobody.code, 125);
  t.match(nobody.stderr, /\/no\/such\.sock[\s\S]*Is the agent running/);
  const silent = await world.run(['doctor', '--connect-timeout', '300ms', 'exec:sleep 60']);
  t.equal(silent.code, 125);
  t.match(silent.stderr, /no agent answers/);
  const kind = await world.run(['doctor', 'carrier-pigeon:x']);
  t.equal(kind.code, 125);
  t.match(kind.stderr, /carrier-pigeon/);
});

t.test('local: starts an agent of its own', async (t) => {
  const { stdout, code, stderr } = await world.run(['exec', 'local:', '--', 'echo', 'here']);
  t.same([stdout.toString(), code], ['here\n', 0], stderr);
});

t.test('help and version', async (t) => {
  const help = await world.run(['--help']);
  t.equal(help.code, 0);
  for (const word of ['unix:', 'vsock:', 'firecracker:', 'Examples', '124', '125', '127', 'HAWSER_LINE'])
    t.match(help.stdout.toString(), word);
  t.match((await world.run(['exec', '--help'])).stdout.toString(), /--rlimit[\s\S]*SIGHUP[\s\S]*141/);
  const cut = await world.shell(
    'hawser --help | true; hawser completion bash | head -1; hawser doctor | true',
  );
  t.same(
    [cut.stdout.toString(), cut.stderr.includes('Error')],
    ['# bash completion for hawser, made by "hawser completion bash"\n', false],
  );
  t.match((await world.run(['--version'])).stdout.toString(), /^\d+\.\d+\.\d+\n$/);
});
