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
    t.ok(spoolBytes <= spoolBudgetBytes, `${spoolBytes} bytes of spools`);
    // What a session is besides, and garbage that was not collected yet.
    t.ok(grown < spoolBudgetBytes / KiB + sessions * 64, `${grown} KiB`);
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
