import { execFileSync } from 'node:child_process';
import type { Session } from '@hawser/host-client';
import t from 'tap';
import { descriptorsOf } from '../semantics/lines.js';
import { startAgent } from '../support/agentd.js';
import { hasCgroups, Transcript } from './world.js';

const skip = hasCgroups() ? false : 'there is no cgroup v2 that a cgroup can be made in';

/** More than the agent keeps open. */
const atOnce = 24;

interface Seen {
  readonly session: Session;
  readonly leaf: string;
  readonly cpuUs: number;
  /** By the memory controller, whose counters do not begin anew. */
  readonly counted: boolean;
}

t.test('of many at once each has a leaf, which serves again and counts anew', { skip }, async (t) => {
  await using running = await startAgent({ args: ['--containment', 'cgroup'] });
  await using agent = await running.connect();

  /** So many sessions at once, looked at when each has done its work. */
  async function round(work: string): Promise<Seen[]> {
    const script = `${work}; cat /proc/self/cgroup; echo end; read line`;
    const seen = await Promise.all(
      Array.from({ length: atOnce }, async () => {
        const session = await agent.spawn('sh', ['-c', script]);
        const [, leaf = ''] = await new Transcript(session.stdout).until(/^0::(.*)$[^]*end$/m);
        const { cpuUserUs, cpuSystemUs, processes, memoryPeakBytes } = await session.stats();
        t.equal(processes, 1);
        return { session, leaf, cpuUs: cpuUserUs + cpuSystemUs, counted: memoryPeakBytes !== undefined };
      }),
    );
    for (const { session } of seen) {
      session.stdin?.end();
      t.match(await session.exited, { survivors: 0 });
    }
    return seen;
  }

  const busy = await round('i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done');
  const idle = await round('true');
  const leaves = (seen: readonly Seen[]): string[] => seen.map(({ leaf }) => leaf).sort();
  t.equal(new Set(leaves(busy)).size, atOnce);
  t.equal(new Set(leaves(idle)).size, atOnce);
  const least = Math.min(...busy.map(({ cpuUs }) => cpuUs));
  const most = Math.max(...idle.map(({ cpuUs }) => cpuUs));
  t.ok(most < least, `${most} us, after sessions of at least ${least} us in the same leaves`);
  const again = leaves(idle).filter((leaf) => leaves(busy).includes(leaf));
  t.equal(again.length, idle[0]?.counted === true ? 0 : atOnce);
});

t.test('commands end, and are killed, while the agent has no descriptor left', { skip }, async (t) => {
  await using running = await startAgent({ args: ['--containment', 'cgroup'] });
  await using agent = await running.connect();
  const reading = await Promise.all(
    Array.from({ length: atOnce }, () => agent.spawn('sh', ['-c', 'echo up; read line; exit 3'])),
  );
  for (const { stdout } of reading) await new Transcript(stdout).until('up');
  const open = new Set(descriptorsOf(running.pid).map(Number));
  let free = 0;
  while (open.has(free)) free++;
  // Whatever it opens now would have a number from there on.
  execFileSync('prlimit', ['--pid', String(running.pid), `--nofile=${free}:`]);
  await t.rejects(agent.exec('true'), { code: /launch_failed|system_call_failed/, errno: 'EMFILE' });
  for (const [i, session] of reading.entries()) {
    const killed = i % 2 === 0;
    if (killed) await session.kill();
    else session.stdin?.end();
    t.match(await session.exited, killed ? { signal: 'SIGKILL', survivors: 0 } : { code: 3, survivors: 0 });
  }
});
