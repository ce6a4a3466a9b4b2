import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Agent, connect, type SessionInfo } from '@hawser/host-client';
import t from 'tap';
import { isAlive, Terminal, until, World } from './cli-world.js';

const world = new World({ built: true });
/** Starts sessions faster than `hawser exec -d` does, and those that it cannot. */
let agent: Agent;
t.before(async () => {
  await world.startAgent();
  agent = await connect(world.line);
});
t.teardown(async () => {
  await agent.close();
  await world.close();
});

interface Started {
  readonly id: string;
  /** What `hawser ps` shows. */
  readonly number: string;
  readonly pid: number;
}

/** Starts `sh -c` detached. */
async function start(script: string, labels: Readonly<Record<string, string>> = {}): Promise<Started> {
  const session = await agent.spawn('sh', ['-c', script], {
    detached: true,
    stdin: 'null',
    cwd: world.dir,
    labels,
  });
  const { id, pid } = session;
  await session.detach();
  return { id, pid, number: String((await agent.sessions.get(id)).generation) };
}

async function ended(script: string, labels: Readonly<Record<string, string>> = {}): Promise<Started> {
  const started = await start(script, labels);
  await agent.sessions.wait(started.id);
  return started;
}

/** When the process is dead, and waited for by whoever it was left to. */
function gone(pid: number): Promise<true> {
  return until(
    () => (isAlive(pid) ? undefined : true),
    () => `the end of ${pid}`,
  );
}

/** Runs `hawser`. @returns its exit code, and what it printed. */
async function hawser(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await world.run(args);
  return { code, stdout: stdout.toString(), stderr };
}

t.test('ps lists what runs, and with -a what has ended, and filters', async (t) => {
  const runs = await start('exec sleep 600', { test: 'ps', name: 'ps-runs', team: 'a' });
  const failed = await ended('exit 3', { test: 'ps', name: 'ps-failed', team: 'b' });
  const killed = await ended('kill -TERM $$', { test: 'ps' });
  const ids = async (...args: string[]): Promise<string[]> => {
    const { code, stdout, stderr } = await hawser('ps', '-q', '--filter', 'label=test=ps', ...args);
    t.equal(code, 0, stderr);
    return stdout.split('\n').slice(0, -1);
  };
  t.same(await ids(), [runs.id]);
  t.same(await ids('-a'), [runs.id, failed.id, killed.id]);
  t.same(await ids('--filter', 'state=exited'), [failed.id], 'a state is looked for among the ended too');
  t.same(await ids('--filter', 'state=signaled', '--filter', 'state=running'), [runs.id, killed.id]);
  t.same(await ids('-a', '--filter', 'label=team'), [runs.id, failed.id]);
  t.same(await ids('-a', '--filter', 'label=team', '--filter', 'label=team=b'), [failed.id]);
  t.same(await ids('-a', '--filter', 'label=team=c'), [], 'nothing is printed for nothing');

  const { stdout } = await hawser('ps', '-a', '--filter', 'label=test=ps', world.line);
  const [titles, ...rows] = stdout.trimEnd().split('\n');
  t.match(titles, /^SESSION +NAME +PID +STATE +AGE +CPU +MEM +PROCS +COMMAND$/);
  t.match(
    rows[0],
    new RegExp(`^${runs.number} +ps-runs +${runs.pid} +running .* 1  sh -c 'exec sleep 600'$`),
  );
  t.match(rows[1], new RegExp(`^${failed.number} +ps-failed +\\d+ +exited 3 .* -  sh -c 'exit 3'$`));
  t.match(rows[2], new RegExp(`^${killed.number} +- +\\d+ +killed SIGTERM `));
  t.equal(rows.length, 3);
  const whole = await hawser('ps', '--no-trunc', '--filter', 'label=test=ps');
  t.match(whole.stdout, new RegExp(`^${runs.id} `, 'm'));
  t.match(await hawser('ps', '--filter', 'state=odd'), { code: 125, stderr: /'state=odd'.*state=starting/ });
  t.match(await hawser('ps', '-q', '--json'), { code: 125, stderr: /cannot be used with/ });
});

t.test('ps shows a session whose leader is dead while another process of it lives', async (t) => {
  const left = await ended('sleep 600 >/dev/null 2>&1 & exit 4', { test: 'left' });
  const { stdout } = await hawser('ps', '--filter', 'label=test=left');
  t.match(stdout, new RegExp(`^${left.number} +- +${left.pid} +exited 4 .* 1  sh`, 'm'));
  const refused = await hawser('rm', left.id);
  t.match(refused, { code: 125, stderr: /has ended, but 1 of it live/ });
  t.match(await hawser('rm', '-f', left.id), { code: 0, stdout: `${left.id}\n` });
});

t.test('ps --json is one array', async (t) => {
  const runs = await start('exec sleep 600', { test: 'json', name: 'json' });
  const { code, stdout } = await hawser('ps', '--json', '--tree', '--filter', 'label=test=json');
  t.equal(code, 0);
  const sessions = JSON.parse(stdout) as (SessionInfo & { members: { processes: { pid: number }[] } })[];
  t.match(sessions, [
    {
      id: runs.id,
      pid: runs.pid,
      state: 'running',
      labels: { name: 'json' },
      command: ['sh', '-c', 'exec sleep 600'],
      exit: null,
      stats: { processes: 1 },
      members: { processes: [{ pid: runs.pid }] },
    },
  ]);
  t.ok(Math.abs(Date.parse(String(sessions[0]?.startedAt)) - Date.now()) < 600_000, 'dates are ISO 8601');
  const none = await hawser('ps', '--json', '--filter', 'label=test=nowhere');
  t.same(JSON.parse(none.stdout), []);
  const dead = await hawser('ps', '--json', 'unix:/no/such.sock');
  t.equal(dead.code, 125);
  t.match(JSON.parse(dead.stderr), { error: { code: 'line_open_failed' } });
});

t.test('ps --tree shows the processes of a session below it', async (t) => {
  const script =
    "sh -c 'sleep 600 & echo $! >grand; echo $$ >child; wait' & sleep 601 & echo $! >other; wait";
  const session = await start(script, { test: 'tree' });
  const [grand, child, other] = (
    await Promise.all(['grand', 'child', 'other'].map((name) => world.written(name)))
  ).map(Number);
  const { stdout } = await hawser('ps', '--tree', '--filter', 'label=test=tree');
  const rows = stdout.trimEnd().split('\n').slice(1);
  t.match(rows[0], new RegExp(`^${session.number} +- +${session.pid} +running`));
  t.match(rows[1], new RegExp(`^ +${session.pid} +S .*  └─ sh -c`));
  t.match(stdout, new RegExp(`^ +${child} +S .*     [├└]─ sh -c 'sleep 600`, 'm'));
  t.match(stdout, new RegExp(`^ +${grand} +S .*     [│ ]  └─ sleep 600$`, 'm'));
  t.match(stdout, new RegExp(`^ +${other} +S .*     [├└]─ sleep 601$`, 'm'));
  t.equal(rows.length, 5);
});

t.test('a text of the guest steers no terminal, and bytes that are no text are shown', async (t) => {
  const session = await agent.spawn(
    'sh',
    ['-c', 'exec sleep 600', Buffer.from([0x1b, 0xff]), 'a\nb\x1b[2J'],
    {
      labels: { test: 'hostile', name: 'x\ty\x07' },
    },
  );
  const { stdout } = await hawser('ps', '--filter', 'label=test=hostile');
  t.equal(stdout.trimEnd().split('\n').length, 2);
  t.match(stdout, / x\\ty\\x07 .* sh -c 'exec sleep 600' '\\x1b\\xff' 'a\\nb\\x1b\[2J'\n$/);
  const [record] = JSON.parse((await hawser('inspect', session.id)).stdout) as [SessionInfo];
  t.same(record.command[3], { base64: Buffer.from([0x1b, 0xff]).toString('base64') });
  await session.kill();
});

t.test('a session is found by its id, a beginning of it, its number and its name', async (t) => {
  const one = await ended('exit 1', { name: 'found' });
  const ids = async (name: string): Promise<string[]> =>
    (JSON.parse((await hawser('inspect', name)).stdout) as SessionInfo[]).map(({ id }) => id);
  t.same(await ids(one.id), [one.id]);
  t.same(await ids(one.number), [one.id]);
  t.same(await ids('found'), [one.id]);
  t.match(await hawser('attach', '--no-stdin', 'found'), { code: 1 }, 'by attach, too');
  for (const name of ['nowhere', '999999', ''])
    t.match(await hawser('wait', name), { code: 125, stdout: '', stderr: `hawser: no session "${name}"` });
  const beginning = await hawser('wait', one.id.slice(0, 8));
  t.match(beginning, { code: 125, stdout: '', stderr: /may be any of \d+ sessions: / });
  const two = await ended('exit 2', { name: 'found' });
  const both = await hawser('rm', 'found');
  t.match(both, { code: 125, stdout: '' });
  t.match(
    both.stderr,
    `"found" may be any of 2 sessions: ${one.id} (exited 1: sh -c 'exit 1'), ${two.id} (exited 2`,
  );
  const numbered = await ended('exit 5', { name: one.number });
  t.match(
    (await hawser('wait', one.number)).stderr,
    `${numbered.id} (exited 5`,
    'the name of one is the number of another',
  );
  t.match(await hawser('kill', world.line), { code: 125, stderr: /no session: hawser kill/ });
});

t.test('a beginning of an id is enough where there is one session', async (t) => {
  const other = new World({ built: true });
  t.teardown(() => other.close());
  await other.startAgent();
  const { code, stdout, stderr } = await other.run(['exec', '-d', '--', 'sh', '-c', 'exit 6']);
  t.equal(code, 0, `one that ends at once has an id as well: ${stderr}`);
  const beginning = stdout.toString().slice(0, 5);
  t.equal((await other.run(['wait', beginning])).stdout.toString(), '6\n');
});

t.test('kill signals the group, and --tree everything', async (t) => {
  const script = (n: number) =>
    `echo $$ >leader${n}; setsid sh -c 'echo $$ >away${n}; exec sleep 600' & wait`;
  const [first, second] = await Promise.all([start(script(1), { name: 'kill-1' }), start(script(2))]);
  const [away1, away2] = (await Promise.all(['away1', 'away2'].map((name) => world.written(name)))).map(
    Number,
  ) as [number, number];
  t.match(await hawser('kill', 'kill-1'), { code: 0, stdout: `${first.id}\n`, stderr: '' });
  t.match(await hawser('wait', first.id), { code: 0, stdout: 'SIGKILL\n' });
  t.ok(isAlive(away1), 'another group is not meant');
  t.match(await hawser('kill', '--tree', first.id, second.id), {
    code: 0,
    stdout: `${first.id}\n${second.id}\n`,
  });
  await gone(away1); // it was left by a leader that is dead
  await gone(away2);
  const again = await hawser('kill', '--tree', first.id);
  t.match(again, { code: 125, stdout: '', stderr: /has ended, and no process of it lives/ });
});

t.test('kill tries each session, with the signal that is named', async (t) => {
  const [term, usr1] = await Promise.all([
    start("trap 'exit 7' TERM; touch term-up; while :; do sleep 0.05; done"),
    start("trap 'echo tree >tree-usr1; exit 8' USR1; touch usr1-up; while :; do sleep 0.05; done"),
  ]);
  const over = await ended('exit 0');
  await until(
    () => (['term-up', 'usr1-up'].every((name) => existsSync(join(world.dir, name))) ? true : undefined),
    () => 'both traps',
  );
  const some = await hawser('kill', '-s', 'TERM', over.id, 'nobody', term.id);
  t.match(some, { code: 125, stdout: `${term.id}\n` });
  t.match(some.stderr, /has ended\n.*no session "nobody"/);
  t.match(await hawser('kill', '--tree', '--signal', '10', usr1.id), { code: 0 });
  t.match(await hawser('wait', term.id, usr1.id), { code: 0, stdout: '7\n8\n' });
  t.match(await hawser('kill', '-s', 'NOPE', term.id), { code: 125, stderr: /'NOPE'/ });
});

t.test('wait prints ends in the order asked for, again and again, and gives up when told to', async (t) => {
  const slow = await start('until [ -e slow-go ]; do sleep 0.05; done; exit 9');
  const killed = await ended('kill -HUP $$');
  const late = await hawser('wait', '--timeout', '100ms', killed.id, slow.id);
  t.match(late, { code: 124, stdout: 'SIGHUP\n', stderr: /still runs after 100 ms/ });
  t.ok(isAlive(slow.pid), 'it goes on');
  const waiting = [world.start(['wait', slow.id, killed.id]), world.start(['wait', world.line, slow.number])];
  await world.run(['exec', '-w', world.dir, '--', 'touch', 'slow-go']);
  const [both, one] = await Promise.all(waiting.map((wait) => wait.finished));
  t.equal(both?.stdout.toString(), '9\nSIGHUP\n');
  t.equal(one?.stdout.toString(), '9\n');
  t.equal(one?.code, 0, "the session's code is printed, and is not the exit code");
  t.match(await hawser('wait', slow.id, 'nobody'), {
    code: 125,
    stdout: '9\n',
    stderr: /no session "nobody"/,
  });
});

t.test('logs prints each output where it belongs, from where it is told', async (t) => {
  const { id } = await ended('printf 0123456789; printf abcdefghij >&2');
  const outputs = async (...args: string[]): Promise<[string, string]> => {
    const { code, stdout, stderr } = await hawser('logs', id, ...args);
    t.equal(code, 0, stderr);
    return [stdout, stderr];
  };
  t.same(await outputs(), ['0123456789', 'abcdefghij']);
  t.same(await outputs('-f'), ['0123456789', 'abcdefghij'], 'and ends where it has ended');
  t.same(await outputs('--stdout'), ['0123456789', '']);
  t.same(await outputs('--stderr'), ['', 'abcdefghij']);
  t.same(await outputs('--since-byte', '7'), ['789', 'abcdefghij']);
  t.same(await outputs('--since-byte', '9:8'), ['9', 'ij']);
  t.same(await outputs('--stderr', '--since-byte', ':10'), ['', '']);
  t.same(await outputs('--tail', '3'), ['789', 'hij']);
  t.match(await hawser('logs', '--since-byte', 'x', id), { code: 125, stderr: /'x'/ });
  t.match(await hawser('logs', id, id), { code: 125, stderr: /too many arguments/ });
  t.match(await agent.sessions.get(id), { hosts: 0, state: 'exited' }, 'it is as it was');
});

t.test('logs -f goes on until the outputs end, or Ctrl-C', async (t) => {
  const { id } = await start('echo one; until [ -e logs-go ]; do sleep 0.05; done; echo two; echo err >&2', {
    name: 'logs-f',
  });
  const now = await hawser('logs', 'logs-f');
  t.match(now, { code: 0, stdout: 'one\n' }, 'without -f it ends');
  const [following, interrupted] = [world.start(['logs', '-f', id]), world.start(['logs', '-f', id])];
  await Promise.all([following.printed(/one\n/), interrupted.printed(/one\n/)]);
  interrupted.child.kill('SIGINT');
  t.match(await interrupted.finished, { code: 130, stderr: '' });
  await world.run(['exec', '-w', world.dir, '--', 'touch', 'logs-go']);
  const { code, stdout, stderr } = await following.finished;
  t.same([code, stdout.toString(), stderr], [0, 'one\ntwo\n', 'err\n']);
});

t.test('logs names what is not kept any more, and stops when its reader goes', async (t) => {
  const bytes = 6 * 1024 * 1024;
  await start(`seq 1 10000000 | head -c ${bytes}; echo done >seq-done; sleep 600`, { name: 'gap' });
  await world.written('seq-done');
  const { code, stdout, stderr } = await hawser('logs', 'gap');
  t.equal(code, 0);
  const [, missing, from, to] =
    /^hawser: (\d+) bytes of stdout are missing here, from (\d+) to (\d+)/.exec(stderr) ?? [];
  t.equal(from, '0');
  t.equal(missing, to);
  t.equal(Number(to) + stdout.length, bytes);
  t.match(await world.shell('hawser logs -f gap 2>/dev/null | head -n 1; echo ${PIPESTATUS[0]}'), {
    stdout: /^\d+\n141\n$/,
  });
});

t.test('rm forgets what has ended, and kills what runs only when told to', async (t) => {
  const over = await ended('echo output');
  t.match(await hawser('rm', over.id), { code: 0, stdout: `${over.id}\n`, stderr: '' });
  for (const command of ['logs', 'wait', 'inspect', 'rm', 'attach'])
    t.match(await hawser(command, over.id), { code: 125, stderr: /no session/ }, command);
  const runs = await start("setsid sh -c 'echo $$ >rm-away; exec sleep 600' & wait", { name: 'rm-runs' });
  const away = Number(await world.written('rm-away'));
  const refused = await hawser('rm', 'rm-runs');
  t.match(refused, { code: 125, stdout: '' });
  t.match(refused.stderr, /is running: kill its tree first \("hawser kill --tree", or "hawser rm -f"\)/);
  t.ok(isAlive(runs.pid));
  t.match(await hawser('rm', '-f', 'nobody', 'rm-runs'), { code: 125, stdout: `${runs.id}\n` });
  await gone(runs.pid);
  await gone(away);
  t.match(await hawser('inspect', runs.id), { code: 125, stdout: '[]\n' });
});

t.test('inspect prints whole records of those that are there', async (t) => {
  const { id, pid } = await ended('printf 12345; exit 3', { name: 'inspected' });
  const { code, stdout, stderr } = await hawser('inspect', 'inspected', 'nobody', id);
  t.equal(code, 125);
  t.match(stderr, /^hawser: no session "nobody"/);
  const records = JSON.parse(stdout) as SessionInfo[];
  t.equal(records.length, 2);
  t.match(records[1], {
    id,
    pid,
    state: 'exited',
    labels: { name: 'inspected' },
    cwd: world.dir,
    exit: { code: 3, signal: null },
    stdout: { bytes: 5, dropped: 0, start: 0 },
    startedAt: /^\d{4}-\d\d-\d\dT.*Z$/,
    endedAt: /^\d{4}-\d\d-\d\dT.*Z$/,
  });
});

t.test('--survive-agent is for what was left to itself', async (t) => {
  const refused = await hawser('exec', '--survive-agent', '--', 'true');
  t.match(refused, { code: 125, stderr: /--survive-agent needs -d/ });
  const { stdout } = await hawser('exec', '-d', '--survive-agent', '--', 'sleep', '600');
  const session = await agent.sessions.get(stdout.trim());
  t.equal(session.surviveAgent, true);
  t.match(await hawser('rm', '-f', session.id), { code: 0 });
});

t.test('in a terminal the table of ps is as wide as that', async (t) => {
  const words =
    'exec sleep 600 # with a comment that is longer than what there is room for in eighty columns';
  await start(words, { test: 'wide', name: 'a name that is rather long, too' });
  const terminal = new Terminal(world, { cols: 80, rows: 24 });
  t.teardown(() => terminal.close());
  await terminal.shows(/shell> /);
  terminal.type("clear; hawser ps --filter label=test=wide; echo 'd'one", 'Enter');
  await terminal.shows(/^done$/m);
  const row = /^\d+ .*$/m.exec(terminal.screen())?.[0] ?? '';
  t.match(row, /^\d+ +a name.*…  +\d+ +running .* sh -c.*…$/);
  t.equal(row.length, 80);
});
