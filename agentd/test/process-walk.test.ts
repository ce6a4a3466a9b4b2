import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import t from 'tap';
import * as native from '../src/ffi/native.js';
import { recordsOf } from '../src/processes/containment/process-record.js';
import { type KnownProcess, ProcessWalk } from '../src/processes/containment/process-walk.js';
import { WalkMarks } from '../src/processes/containment/walk-marks.js';

/**
 * What cannot be had at will, a pid that is used again within the tick of the clock in which its first owner was
 * started, is the same as this: a process that a tree remembers, and that is somebody else's.
 */
t.equal(native.becomeSubreaper(), 0);
const walk = new ProcessWalk();
const marker = Buffer.from('HAWSER_SESSION=b-1');

/** Prints the pids that a script writes in its first line. */
async function start(
  script: string,
  env: NodeJS.ProcessEnv = {},
): Promise<{ child: ChildProcess; pids: number[] }> {
  const child = spawn('sh', ['-c', script], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  });
  const [line] = await once(child.stdout, 'data');
  return { child, pids: String(line).trim().split(' ').map(Number) };
}

/** Resolves when this process has adopted it. */
async function adopted(pid: number): Promise<void> {
  while (recordsOf(Int32Array.of(pid)).parent(0) !== process.pid) await nextTurn();
}

function remembered(...pids: number[]): Map<number, KnownProcess> {
  const records = recordsOf(Int32Array.from(pids));
  const known = new Map<number, KnownProcess>();
  for (let i = 0; i < records.count; i++)
    known.set(records.pid(i), { startTicks: records.startTicks(i), session: records.session(i) });
  return known;
}

/** The pids of a tree whose leader is dead, and that remembers these. */
function membersThat(known: Map<number, KnownProcess>): number[] {
  const records = walk.members({ leader: 0, slack: 0, marker, known });
  return Array.from({ length: records.count }, (_, i) => records.pid(i));
}

async function end({ child, pids }: { child: ChildProcess; pids: number[] }): Promise<void> {
  const exited = once(child, 'exit');
  for (const pid of pids) process.kill(pid, 'SIGKILL');
  child.kill('SIGKILL');
  await exited;
  walk.disown(child.pid as number);
}

t.test("another session's leader is no member that was seen before", async (t) => {
  const other = await start('echo $$; read x');
  walk.own(other.child.pid as number);
  t.strictSame(membersThat(remembered(other.child.pid as number)), []);
  await end({ ...other, pids: [] });
});

t.test('nor is what has a parent that is none', async (t) => {
  const other = await start('sleep 600 & echo $!; read x');
  walk.own(other.child.pid as number);
  t.strictSame(membersThat(remembered(...other.pids)), []);
  await end(other);
});

t.test('nor an orphan in a session that was never its own', async (t) => {
  const other = await start('(sleep 600 & echo $!); read x');
  walk.own(other.child.pid as number);
  await adopted(other.pids[0] as number);
  const known = remembered(...other.pids);
  t.strictSame(membersThat(known), other.pids, 'but for the one that was seen there');
  for (const entry of known.values()) (entry as { session: number }).session = 1;
  t.strictSame(membersThat(known), []);
  await end(other);
});

t.test('an orphan that has made a session for itself since it was seen still is', async (t) => {
  const other = await start('(setsid sh -c "echo \\$\\$; exec sleep 600" &); read x');
  walk.own(other.child.pid as number);
  await adopted(other.pids[0] as number);
  const known = remembered(...other.pids);
  for (const entry of known.values()) (entry as { session: number }).session = other.child.pid as number;
  t.strictSame(membersThat(known), other.pids);
  await end(other);
});

t.test('an agent inside a session of another one has other marks', async (t) => {
  const outer = new WalkMarks(0.3, 50_000);
  const mark = outer.take(false);
  for (let i = 0; i < 64; i++) {
    const inner = new WalkMarks(i / 64, mark);
    t.not(inner.first, outer.first);
    t.ok(inner.take(true) > 0);
  }
  t.equal(new Set(Array.from({ length: 64 }, (_, i) => new WalkMarks(i / 64, 0).first)).size, 16);
});
