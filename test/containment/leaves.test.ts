import type { Session } from '@hawser/host-client';
import t from 'tap';
import { startAgent } from '../support/agentd.js';
import { hasCgroups, Transcript } from './world.js';

const skip = hasCgroups() ? false : 'there is no cgroup v2 that a cgroup can be made in';

/** More than the agent keeps open. */
const atOnce = 24;

const pollsInTurn = 4;

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
  // The last exit is told before its leaf is free again, which is in the next turn of the agent's loop: in one of
  // them it takes at most so many answers (ROUNDS_MAX of native/node_api.c).
  for (let i = 0; i <= pollsInTurn; i++) await agent.ping();
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
