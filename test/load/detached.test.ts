import t from 'tap';
import { startAgent } from '../support/agentd.js';
import { compile, each, KiB, MiB, numbers, privateDirtyKiB, settled } from './world.js';

const program = compile(t, 'load-pattern');
const sessions = 1_000;

t.test(
  '1,000 detached sessions with full spools hold what the budget allows, and all move again',
  async (t) => {
    await using running = await startAgent({ args: ['--sessions-max', '2000'] });
    const ids: string[] = [];
    const first = await running.connect();
    const before = privateDirtyKiB(running.pid);
    await each(numbers(sessions), 32, async (i) => {
      const [whenFull, bytes] =
        i % 2 === 0 ? (['block', 100 * MiB] as const) : (['dropOldest', MiB] as const);
      const script = `"$0" stream ${i} ${bytes}; exec sleep 1000`;
      const options = { detached: true, stdin: 'null', whenFull } as const;
      const session = await first.spawn('sh', ['-c', script, program], options);
      ids[i] = session.id;
      await session.detach();
    });
    await first.close();
    await using agent = await running.connect();
    const held = await settled('spools', async () => Math.floor((await agent.info()).spoolBytes / MiB));
    const { spoolBytes, spoolBudgetBytes } = await agent.info();
    const grown = privateDirtyKiB(running.pid) - before;
    t.comment(`${held} MiB of spools, ${grown} KiB of private memory more than before`);
    // Beyond the budget each session has its smallest pieces, that it may move.
    t.ok(spoolBytes <= spoolBudgetBytes + sessions * 2 * 4 * KiB, `${spoolBytes} bytes of spools`);
    // Pieces that were dropped and not collected yet, and what a session is besides: about 70 KiB for each.
    t.ok(grown < spoolBudgetBytes / KiB + sessions * 128, `${grown} KiB`);
    await each(numbers(8), 4, async (i) => {
      const session = await agent.attach(ids[i * 100] as string, { from: 'start' });
      let bytes = 0;
      for await (const chunk of session.stdout as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        if (bytes > MiB / 2) break;
      }
      t.ok(bytes > MiB / 2, `session ${i * 100} goes on`);
      await session.kill().catch(() => {});
    });
  },
);
