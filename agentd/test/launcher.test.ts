import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type HawserError, launchStages } from '@hawser/protocol';
import t from 'tap';
import * as native from '../src/ffi/native.js';
import { delegatedCgroup } from '../src/processes/containment/cgroup-base.js';
import { reapPidfd, type WaitResult } from '../src/processes/exit-status.js';
import {
  type LaunchedProcess,
  Launcher,
  type LaunchFailure,
  type LaunchRequest,
} from '../src/processes/launcher.js';
import { POLL_IN, Poller } from '../src/processes/poller.js';
import {
  getLimit,
  limitInfinity,
  limitNames,
  limitNumber,
  resourceLimit,
  setLimit,
} from '../src/processes/rlimits.js';

const poller = Poller.open();
const launcher = new Launcher(poller);
const isRoot = process.getuid?.() === 0;
/** CAP_SYS_RESOURCE, bit 24. */
const mayUseMoreResources =
  (BigInt(`0x${/CapEff:\t(\w+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]}`) & (1n << 24n)) !== 0n;
const folder = mkdtempSync(join(tmpdir(), 'hawser-launcher-'));
chmodSync(folder, 0o755);
t.teardown(() => {
  poller.close();
  rmSync(folder, { recursive: true });
});

type Changes = Partial<LaunchRequest> & { command?: string };

interface Result {
  readonly failure: LaunchFailure | null;
  readonly stdout: Buffer;
  readonly stderr: string;
  readonly wait: WaitResult;
}

function bytes(...strings: string[]): Buffer[] {
  return strings.map((string) => Buffer.from(string));
}

function request({ command, ...changes }: Changes): LaunchRequest {
  return {
    candidates: bytes('/bin/sh'),
    argv: bytes('sh', '-c', command ?? 'true'),
    env: bytes('PATH=/usr/bin:/bin'),
    stdio: { kind: 'pipes', stdin: 'null' },
    rlimits: [],
    noNewPrivileges: false,
    ...changes,
  };
}

function readAll(fd: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  return new Promise((resolve) => {
    const watch = poller.watch(fd, POLL_IN, () => {
      const part = Buffer.alloc(65536);
      const count = native.read(fd, part, 0, part.length);
      if (count > 0) parts.push(part.subarray(0, count));
      if (count !== 0) return;
      watch.stop();
      native.close(fd);
      resolve(Buffer.concat(parts));
    });
  });
}

function waitFor(pidfd: number, settle: () => void): Promise<WaitResult> {
  return new Promise((resolve) => {
    const watch = poller.watch(pidfd, POLL_IN, () => {
      settle();
      const result = reapPidfd(pidfd);
      if (result === null) return;
      watch.stop();
      native.close(pidfd);
      resolve(result);
    });
  });
}

/** Launches and waits for everything: the launch's outcome, both outputs, the exit. */
async function run(changes: Changes): Promise<Result> {
  let failure: LaunchFailure | null | undefined;
  const child = launcher.launch(request(changes), (outcome) => {
    failure = outcome;
  });
  if (child.stdinFd >= 0) native.close(child.stdinFd);
  const [stdout, stderr, wait] = await Promise.all([
    readAll(child.stdoutFd),
    readAll(child.stderrFd),
    waitFor(child.pidfd, () => child.settle()),
  ]);
  if (failure === undefined) throw new Error('the launch has no outcome');
  return { failure, stdout, stderr: String(stderr), wait };
}

async function output(changes: Changes): Promise<string> {
  const result = await run(changes);
  t.strictSame([result.failure, result.stderr], [null, '']);
  return String(result.stdout);
}

async function failureOf(changes: Changes): Promise<LaunchFailure> {
  const { failure } = await run(changes);
  if (failure === null) throw new Error('it was launched');
  return failure;
}

function script(name: string, content: string | Buffer, mode = 0o755): Buffer {
  const path = join(folder, name);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return Buffer.from(path);
}

function openDescriptors(): string[] {
  return readdirSync('/proc/self/fd');
}

t.test('a command runs, and its exit and usage are known', async (t) => {
  const { wait, stdout } = await run({ command: 'echo out; exit 7' });
  t.equal(String(stdout), 'out\n');
  t.strictSame(wait.status, { code: 7 });
  t.ok(wait.usage.minorFaults > 0);
  t.equal(launcher.launchesPending, 0);
  const killed = await run({ command: 'kill -KILL $$' });
  t.strictSame(killed.wait.status, { signal: 'SIGKILL', coreDumped: false });
});

t.test(
  'the child starts with default signals, an empty mask, three descriptors, its own session',
  async (t) => {
    process.on('SIGUSR2', () => {});
    const status = await output({ candidates: bytes('/bin/cat'), argv: bytes('cat', '/proc/self/status') });
    for (const field of ['SigBlk', 'SigIgn', 'SigCgt', 'SigPnd', 'ShdPnd']) {
      t.match(status, new RegExp(`^${field}:\t0000000000000000$`, 'm'), field);
    }
    process.removeAllListeners('SIGUSR2');
    // ls itself opens the folder as number 3.
    const descriptors = await output({ candidates: bytes('/bin/ls'), argv: bytes('ls', '/proc/self/fd') });
    t.equal(descriptors, '0\n1\n2\n3\n');
    const stat = await output({ candidates: bytes('/bin/cat'), argv: bytes('cat', '/proc/self/stat') });
    const [pid, , , , group, session] = stat.split(' ');
    t.strictSame([group, session], [pid, pid]);
  },
);

t.test('standard streams are pipes that can be opened again', async (t) => {
  const result = await run({
    command: 'echo a > /dev/stdout; echo b > /dev/stderr; readlink /proc/self/fd/0',
  });
  t.equal(String(result.stdout), 'a\n/dev/null\n');
  t.equal(result.stderr, 'b\n');
});

t.test('stdin is a pipe that ends when closed', async (t) => {
  let outcome: LaunchFailure | null | undefined;
  const child = launcher.launch(
    request({ candidates: bytes('/bin/cat'), argv: bytes('cat'), stdio: { kind: 'pipes', stdin: 'pipe' } }),
    (failure) => {
      outcome = failure;
    },
  );
  const input = Buffer.from('hello, child');
  t.equal(native.write2(child.stdinFd, input, 0, 5, input, 5, 7), 12, 'head and body in one write');
  native.close(child.stdinFd);
  const [stdout, , wait] = await Promise.all([
    readAll(child.stdoutFd),
    readAll(child.stderrFd),
    waitFor(child.pidfd, () => child.settle()),
  ]);
  t.equal(String(stdout), 'hello, child');
  t.strictSame(wait.status, { code: 0 });
  t.equal(outcome, null);
});

t.test('umask, nice value and no_new_privs', async (t) => {
  t.equal(await output({ command: 'umask' }), '0022\n');
  t.equal(await output({ command: 'umask', umask: 0o077 }), '0077\n');
  t.equal(await output({ candidates: bytes('/usr/bin/nice'), argv: bytes('nice'), nice: 11 }), '11\n');
  t.match(await output({ command: 'cat /proc/self/status' }), /NoNewPrivs:\t0/);
  t.match(await output({ command: 'cat /proc/self/status', noNewPrivileges: true }), /NoNewPrivs:\t1/);
});

t.test('all sixteen limits are in force', async (t) => {
  t.equal(limitNames.length, 16);
  const rows: Record<string, string> = {
    cpu: 'cpu time',
    fsize: 'file size',
    data: 'data size',
    stack: 'stack size',
    core: 'core file size',
    rss: 'resident set',
    nproc: 'processes',
    nofile: 'open files',
    memlock: 'locked memory',
    as: 'address space',
    locks: 'file locks',
    sigpending: 'pending signals',
    msgqueue: 'msgqueue size',
    nice: 'nice priority',
    rtprio: 'realtime priority',
    rttime: 'realtime timeout',
  };
  // Below every default, and enough for cat.
  const values: Record<string, number> = {
    data: 1 << 28,
    as: 1 << 29,
    stack: 1 << 20,
    nofile: 20,
    nice: 0,
    rtprio: 0,
  };
  const rlimits = limitNames.map((name, i) =>
    resourceLimit(
      name,
      values[name] ?? 1000 + i,
      (values[name] ?? 1000 + i) + (name === 'nice' || name === 'rtprio' ? 0 : 7),
    ),
  );
  const limits = await output({
    candidates: bytes('/bin/cat'),
    argv: bytes('cat', '/proc/self/limits'),
    rlimits,
  });
  for (const { resource, soft, hard } of rlimits) {
    const name = limitNames.find((each) => limitNumber(each) === resource) as string;
    t.match(limits, new RegExp(`^Max ${rows[name]} +${soft} +${hard} `, 'm'), name);
  }
  t.match(
    await output({
      candidates: bytes('/bin/cat'),
      argv: bytes('cat', '/proc/self/limits'),
      rlimits: [resourceLimit('core', 0, 0)],
    }),
    /^Max core file size +0 +0 /m,
  );
});

t.test('limits are checked before the launch, and read and changed on a live process', (t) => {
  t.throws(() => resourceLimit('files', 1), { code: 'unknown_limit', message: /"files".*nofile/ });
  t.throws(() => resourceLimit('nofile', 9, 8), {
    code: 'invalid_limit',
    message: 'limit nofile: soft 9 is above hard 8',
  });
  t.throws(() => resourceLimit('nofile', -1), { code: 'invalid_limit' });
  t.throws(() => resourceLimit('nofile', 1.5), { code: 'invalid_limit' });
  t.throws(() => resourceLimit('nofile', 'unlimited', 5), { code: 'invalid_limit' });
  t.equal(resourceLimit('core', 'unlimited').soft, limitInfinity);
  const before = getLimit(process.pid, limitNumber('core'));
  setLimit(process.pid, { ...before, soft: 0n });
  t.equal(getLimit(process.pid, limitNumber('core')).soft, 0n);
  setLimit(process.pid, before);
  t.throws(() => getLimit(999_999_999, 0), { code: 'system_call_failed', errno: 'ESRCH' });
  t.end();
});

t.test('a limit of very few descriptors refuses the command none of the launch', async (t) => {
  const rlimits = [resourceLimit('nofile', 3, 3)];
  const { failure } = await run({ rlimits, command: ':' });
  t.equal(failure, null);
});

t.test('credentials: uid, gid, groups, and streams the user can open again', { skip: !isRoot }, async (t) => {
  const credentials = { uid: 12345, gid: 23456, groups: [23456, 100, 65534] };
  const text = await output({ command: 'cat /proc/self/status', credentials });
  const result = await run({
    command: 'id -u; id -g; id -G; echo x > /dev/stderr && echo reopened',
    credentials,
  });
  t.equal(String(result.stdout), '12345\n23456\n23456 100 65534\nreopened\n');
  t.equal(result.stderr, 'x\n');
  t.match(text, /CapEff:\t0000000000000000/);
  t.equal(statSync('/dev/null').uid, 0, '/dev/null as stdin is not given away');
  t.match(
    await output({ command: 'cat /proc/self/status', credentials: { uid: 1, gid: 1, groups: [] } }),
    /^Groups:\t ?$/m,
  );
});

t.test('a launch as another user leaves the agent itself alone', { skip: !isRoot }, async (t) => {
  const before = readFileSync('/proc/self/status', 'utf8').match(/^(?:Uid|Gid|Groups|Cap.*):.*$/gm);
  await Promise.all(
    Array.from({ length: 20 }, () =>
      run({ credentials: { uid: 12345, gid: 12345, groups: [1] }, umask: 0o777, cwd: Buffer.from('/') }),
    ),
  );
  t.strictSame(readFileSync('/proc/self/status', 'utf8').match(/^(?:Uid|Gid|Groups|Cap.*):.*$/gm), before);
  t.not(process.umask(), 0o777);
});

t.test("an oom score is the command's, not the agent's", async (t) => {
  const before = readFileSync('/proc/self/oom_score_adj', 'utf8');
  t.equal(await output({ command: 'cat /proc/self/oom_score_adj', oomScoreAdj: 987 }), '987\n');
  t.equal(readFileSync('/proc/self/oom_score_adj', 'utf8'), before);
  const lower = await run({ command: 'cat /proc/self/oom_score_adj', oomScoreAdj: -999 });
  if (mayUseMoreResources) t.equal(String(lower.stdout), '-999\n');
  else t.match(lower.failure, { stage: 'oom_score', errno: 'EACCES' });
  const failure = await failureOf({ oomScoreAdj: 1001 });
  t.match(failure, {
    stage: 'oom_score',
    errno: 'EINVAL',
    code: 'launch_failed',
    message: /oom_score_adj to 1001/,
  });
  t.equal(readFileSync('/proc/self/oom_score_adj', 'utf8'), before);
});

t.test('the working directory is judged as the command’s user', async (t) => {
  t.equal(await output({ command: 'pwd', cwd: Buffer.from('/usr') }), '/usr\n');
  t.match(await failureOf({ cwd: Buffer.from('/no/such') }), {
    stage: 'cwd',
    errno: 'ENOENT',
    code: 'cwd_not_found',
    message: 'no such working directory: "/no/such"',
  });
  t.match(await failureOf({ cwd: Buffer.from('/etc/passwd') }), {
    stage: 'cwd',
    errno: 'ENOTDIR',
    code: 'cwd_not_found',
  });
  if (!isRoot) return;
  const closed = join(folder, 'closed');
  mkdirSync(closed, { mode: 0o700 });
  t.match(
    await failureOf({ cwd: Buffer.from(closed), credentials: { uid: 12345, gid: 12345, groups: [] } }),
    { stage: 'cwd', errno: 'EACCES', code: 'cwd_not_accessible' },
  );
});

t.test('candidates are tried as execvpe does', async (t) => {
  const plain = script('plain', 'no program', 0o644);
  const wanted = ['/no/such/dir/cat', '/etc/passwd/cat', String(plain), '/bin/cat'];
  t.equal(await output({ candidates: bytes(...wanted), argv: bytes('cat', '/dev/null') }), '');
  t.match(await failureOf({ candidates: bytes('/no/such', '/nor/this') }), {
    stage: 'exec',
    errno: 'ENOENT',
    code: 'not_found',
    message: 'no such command: tried "/no/such", "/nor/this"',
  });
  t.match(await failureOf({ candidates: [Buffer.from('/no/such')] }), {
    code: 'not_found',
    message: 'no such command: "/no/such"',
  });
  t.match(await failureOf({ candidates: bytes('/etc/passwd/x') }), { code: 'not_found', errno: 'ENOTDIR' });
  t.match(await failureOf({ candidates: [plain, Buffer.from('/no/such')] }), {
    code: 'not_executable',
    errno: 'EACCES',
    message: /plain" has no execute permission \(mode 0644\)/,
  });
});

t.test('what is not a program for this machine is told apart from what is missing', async (t) => {
  t.match(await failureOf({ candidates: [script('lost', '#!/no/such/interpreter\n')] }), {
    code: 'interpreter_not_found',
    errno: 'ENOENT',
  });
  t.match(await failureOf({ candidates: [script('text', 'echo no interpreter line\n')] }), {
    code: 'not_executable',
    errno: 'ENOEXEC',
  });
  t.match(await failureOf({ candidates: [script('empty', '')] }), { code: 'not_executable' });
  // ELF header: class 64, little-endian, ET_EXEC, machine 0x2b (SPARC V9).
  const foreign = Buffer.from('7f454c4602010100000000000000000002002b0001000000', 'hex');
  t.match(await failureOf({ candidates: [script('foreign', Buffer.concat([foreign, Buffer.alloc(256)]))] }), {
    code: 'not_executable',
    errno: 'ENOEXEC',
  });
  t.match(await failureOf({ candidates: bytes('/usr') }), {
    code: 'not_executable',
    errno: 'EACCES',
    message: '"/usr" is a directory',
  });
  if (!isRoot) return;
  const owners = script('owners', '#!/bin/sh\n', 0o700);
  t.match(await failureOf({ candidates: [owners], credentials: { uid: 12345, gid: 12345, groups: [] } }), {
    code: 'permission_denied',
    errno: 'EACCES',
  });
});

t.test('every other step that fails is named', { skip: !isRoot }, async (t) => {
  const noCgroup = native.open(Buffer.from('/etc/passwd\0'), 0, 0);
  await t.rejects(failureOf({ cgroupFd: noCgroup }), {
    stage: 'clone',
    errno: 'EBADF',
    code: 'launch_failed',
  });
  native.close(noCgroup);
  t.match(await failureOf({ rlimits: [resourceLimit('core', 1), { resource: 99, soft: 1n, hard: 1n }] }), {
    stage: 'rlimit',
    errno: 'EINVAL',
    code: 'limit_not_allowed',
    message: /limit 99/,
  });
  t.match(await failureOf({ rlimits: [resourceLimit('nofile', 'unlimited')] }), {
    stage: 'rlimit',
    errno: 'EPERM',
    code: 'limit_not_allowed',
    message: /limit nofile \(soft 18446744073709551615/,
  });
  t.match(await failureOf({ credentials: { uid: 0xffffffff, gid: 0, groups: [0xffffffff] } }), {
    stage: 'groups',
    errno: 'EINVAL',
    message: /4294967295/,
  });
});

t.test('an unprivileged agent is refused by step', { skip: !isRoot }, async (t) => {
  // The agent gives up nothing: the launch that drops privileges asks for what then is not allowed.
  const { stdout } = await run({
    command: 'ulimit -Hn 10; ulimit -Hn 20 || echo refused',
    credentials: { uid: 12345, gid: 12345, groups: [] },
  });
  t.equal(String(stdout), 'refused\n');
});

t.test('arguments and environment are bytes', async (t) => {
  const odd = Buffer.from([0xff, 0xfe, 0x80, 0x27, 0x0a, 0x01]);
  const result = await run({ candidates: bytes('/usr/bin/printf'), argv: [...bytes('printf', '%s'), odd] });
  t.strictSame(result.stdout, odd);
  const environment = await run({
    candidates: bytes('/usr/bin/env'),
    argv: bytes('env'),
    env: [Buffer.concat([Buffer.from('A='), odd])],
  });
  t.strictSame(environment.stdout, Buffer.concat([Buffer.from('A='), odd, Buffer.from('\n')]));
  const path = Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0xe9, 0x2e])]);
  writeFileSync(path, '#!/bin/sh\necho "$0" | od -An -tx1 | tail -c 10\n', { mode: 0o755 });
  t.match(String((await run({ candidates: [path], argv: [path] })).stdout), /e9 2e 0a/);
});

t.test('an argument may be as long as the kernel takes, and no longer', async (t) => {
  const longest = Buffer.alloc(131_071, 0x61);
  const result = await run({
    candidates: bytes('/usr/bin/printf'),
    argv: [...bytes('printf', '%s'), longest],
  });
  t.ok(result.stdout.equals(longest));
  const failure = await failureOf({ argv: [Buffer.from('sh'), Buffer.alloc(131_072, 0x61)] });
  t.match(failure, {
    stage: 'exec',
    errno: 'E2BIG',
    code: 'arguments_too_long',
    message: /131,076 bytes of arguments/,
  });
  const many = Array.from({ length: 100 }, () => Buffer.alloc(100_000, 0x62));
  t.match(await failureOf({ argv: [Buffer.from('sh'), ...many] }), { code: 'arguments_too_long' });
});

t.test('a NUL in a string is refused before anything is launched', (t) => {
  const refused = (changes: Changes, code: string, message: RegExp): void => {
    t.throws(() => launcher.launch(request(changes), () => t.fail('called back')), {
      code,
      message,
      stage: 'validate',
    });
  };
  refused({ argv: bytes('sh', 'a\0b') }, 'invalid_argument', /argument 1 contains a NUL/);
  refused({ env: bytes('A=1\0') }, 'invalid_env', /environment variable 0/);
  refused({ cwd: Buffer.from('\0') }, 'invalid_argument', /cwd/);
  refused({ candidates: [] }, 'invalid_argument', /no path/);
  t.equal(launcher.launchesPending, 0);
  t.end();
});

t.test('without descriptors there is no child and no leak', async (t) => {
  const nofile = limitNumber('nofile');
  const before = getLimit(process.pid, nofile);
  await run({});
  const descriptors = openDescriptors();
  const stages = new Set<string>();
  const outcomes: (LaunchFailure | null)[] = [];
  let child: LaunchedProcess | undefined;
  for (let limit = 3n; child === undefined; limit++) {
    let error: HawserError | undefined;
    setLimit(process.pid, { ...before, soft: limit });
    try {
      child = launcher.launch(request({ stdio: { kind: 'pipes', stdin: 'pipe' } }), (failure) =>
        outcomes.push(failure),
      );
    } catch (thrown) {
      error = thrown as HawserError;
    }
    setLimit(process.pid, before);
    if (error === undefined) break;
    t.match(error, { code: 'launch_failed', errno: 'EMFILE' });
    stages.add(String(error.stage));
    t.strictSame(openDescriptors(), descriptors);
  }
  t.strictSame([...stages], ['pipe', 'clone']);
  if (child === undefined) throw new Error('no child');
  const started = child;
  native.close(started.stdinFd);
  await Promise.all([
    readAll(started.stdoutFd),
    readAll(started.stderrFd),
    waitFor(started.pidfd, () => started.settle()),
  ]);
  t.strictSame(outcomes, [null]);
});

t.test('500 launches leave no descriptor, no zombie and no memory behind', async (t) => {
  await Promise.all(Array.from({ length: 100 }, () => run({})));
  const descriptors = openDescriptors();
  const maps = readFileSync('/proc/self/maps', 'utf8').split('\n').length;
  for (let i = 0; i < 250; i++) {
    await run({ candidates: bytes('/bin/true') });
    await run({ candidates: bytes('/no/such') });
  }
  t.strictSame(openDescriptors(), descriptors);
  t.equal(native.nextZombie(), 0);
  t.ok(readFileSync('/proc/self/maps', 'utf8').split('\n').length < maps + 50);
});

t.test('100 launches at once, each with its own output', async (t) => {
  const results = await Promise.all(
    Array.from({ length: 100 }, (_, i) => run({ command: `echo ${i}; exit ${i}` })),
  );
  t.strictSame(
    results.map(({ stdout, wait }) => [String(stdout), wait.status]),
    results.map((_, i) => [`${i}\n`, { code: i }]),
  );
  t.equal(launcher.launchesPending, 0);
});

t.test('a cancelled launch ends, whichever way it went', async (t) => {
  const outcomes: (LaunchFailure | null)[] = [];
  const child = launcher.launch(
    request({ candidates: bytes('/bin/sleep'), argv: bytes('sleep', '1000') }),
    (failure) => outcomes.push(failure),
  );
  t.equal(launcher.launchesPending, 1);
  t.equal(child.pending, true);
  child.cancel();
  const wait = await waitFor(child.pidfd, () => child.settle());
  await Promise.all([readAll(child.stdoutFd), readAll(child.stderrFd)]);
  t.strictSame(wait.status, { signal: 'SIGKILL', coreDumped: false });
  t.strictSame(outcomes, [null]);
  t.equal(child.pending, false);
  child.cancel();
  t.equal(launcher.launchesPending, 0);
});

const cgroup = isRoot ? delegatedCgroup() : undefined;

t.test('a child that stands still holds its agent up for a moment only', { skip: !cgroup }, async (t) => {
  const leaf = `${cgroup}/hawser-launcher-${process.pid}`;
  mkdirSync(leaf);
  t.teardown(() => rmdirSync(leaf));
  writeFileSync(`${leaf}/cgroup.freeze`, '1');
  const cgroupFd = native.open(Buffer.from(`${leaf}\0`), 0, 0);
  const running = run({ cgroupFd, command: 'echo thawed' });
  native.close(cgroupFd);
  t.equal(launcher.launchesPending, 1);
  t.match(readFileSync(`${leaf}/cgroup.procs`, 'utf8'), /^\d+\n$/);
  writeFileSync(`${leaf}/cgroup.freeze`, '0');
  t.match(await running, { failure: null, stdout: Buffer.from('thawed\n') });
});

// proc_pid_stat(5): the 41st field; SCHED_OTHER is 0, SCHED_FIFO 1.
const policyOf = (stat: string): string | undefined => stat.slice(stat.lastIndexOf(')') + 2).split(' ')[38];
const ownPolicy = (): string | undefined => policyOf(readFileSync('/proc/thread-self/stat', 'utf8'));

t.test(
  'of many launches at once the agent goes first, until it sleeps, and no command',
  { skip: !cgroup },
  async (t) => {
    t.equal(native.shortenSlices(), 0);
    const leaf = `${cgroup}/hawser-launcher-many-${process.pid}`;
    mkdirSync(leaf);
    t.teardown(() => rmdirSync(leaf));
    writeFileSync(`${leaf}/cgroup.freeze`, '1'); // none of them gets on
    const cgroupFd = native.open(Buffer.from(`${leaf}\0`), 0, 0);
    const stat = () =>
      run({ cgroupFd, candidates: bytes('/bin/cat'), argv: bytes('cat', '/proc/self/stat') });
    const runs = [stat(), stat(), stat()];
    t.equal(ownPolicy(), '0', 'three are not many');
    for (let i = 0; i < 5; i++) runs.push(stat());
    t.equal(ownPolicy(), '1');
    native.close(cgroupFd);
    // The first may be of this turn, which is not over yet.
    await nextTurn();
    await nextTurn();
    t.equal(ownPolicy(), '0', 'it sleeps as everybody does');
    writeFileSync(`${leaf}/cgroup.freeze`, '0');
    for (const { stdout } of await Promise.all(runs)) t.match(policyOf(String(stdout)), '0');
  },
);

t.test('launches disturb neither errno nor work beside them', async (t) => {
  // Every failing stat sets errno on the thread whose memory the children share.
  const wrong: string[] = [];
  let done = false;
  const runs = Promise.all(
    Array.from({ length: 60 }, (_, i) => run({ candidates: bytes(i % 2 === 0 ? '/no/such' : '/bin/true') })),
  ).finally(() => {
    done = true;
  });
  while (!done) {
    for (let i = 0; i < 200; i++) {
      try {
        readFileSync('/etc/passwd/x');
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code !== 'ENOTDIR') wrong.push(String(code));
      }
      if (native.read(-1, Buffer.alloc(1), 0, 1) !== -constants.errno.EBADF) wrong.push('read');
    }
    await nextTurn();
  }
  await runs;
  t.strictSame(wrong, []);
});

t.test('the stages are numbered alike in C and in the protocol', (t) => {
  const source = readFileSync(new URL('../native/launch.h', import.meta.url), 'utf8');
  const listed = /enum stage \{([^}]*)\}/.exec(source)?.[1]?.match(/STAGE_\w+/g) ?? [];
  t.strictSame(
    listed.map((name) => name.slice('STAGE_'.length).toLowerCase()),
    [...launchStages],
  );
  t.end();
});
