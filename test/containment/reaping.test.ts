import { privateDirtyKiB } from '../load/world.js';
import { compile } from '../semantics/lines.js';
import { bearersOf, escape, eventually, newToken, overEachMode, zombiesOf } from './world.js';

const manyChildren = compile('many-children');
/** What the collector has not looked at. A hundred thousand: `npm run test:children`. */
const slackKiB = 4096;

overEachMode(async (t, { agent, agentd }) => {
  await t.test('20 orphans die: none stays a zombie, and no wait is stolen from a session', async (t) => {
    const token = newToken();
    const session = await agent.spawn('sh', [
      '-c',
      `for i in 1 2 3 4 5 6 7 8 9 10; do ${escape} orphan ${token}; ${escape} daemon ${token}; done; exit 7`,
    ]);
    t.match(await session.exited, { code: 7, survivors: 20 });
    t.equal(bearersOf(token).length, 20);
    // While they die, sessions come and go: each gets its own exit.
    const killing = session.killTree();
    const exits = await Promise.all(
      Array.from({ length: 40 }, async (_, i) => (await agent.exec('sh', ['-c', `exit ${i}`])).code),
    );
    await killing;
    t.strictSame(
      exits,
      Array.from({ length: 40 }, (_, i) => i),
    );
    await eventually(() => zombiesOf(agentd.pid).length === 0);
    t.strictSame(bearersOf(token), []);
  });

  await t.test('orphans that end by themselves beside sessions', async (t) => {
    const codes = await Promise.all(
      Array.from({ length: 50 }, async (_, i) => {
        const { code } = await agent.exec('sh', [
          '-c',
          `for j in 1 2 3 4; do (sleep 0.0$j &) ; done; exit ${i}`,
        ]);
        return code;
      }),
    );
    t.strictSame(
      codes,
      Array.from({ length: 50 }, (_, i) => i),
    );
    await eventually(() => zombiesOf(agentd.pid).length === 0);
    t.equal((await agent.info()).sessionsRunning, 0);
  });

  await t.test('5,000 short children, every tenth with an orphan, leave nothing in the agent', async (t) => {
    const run = async (count: number): Promise<void> => {
      const { code, stdout } = await agent.exec(manyChildren, [String(count)]);
      t.equal(code, 0);
      t.equal(stdout, `${count} children, ${count / 10} orphans\n`);
      await eventually(() => zombiesOf(agentd.pid).length === 0);
    };
    await run(1_000);
    const before = privateDirtyKiB(agentd.pid);
    await run(5_000);
    const grown = privateDirtyKiB(agentd.pid) - before;
    t.ok(grown < slackKiB, `${grown} KiB more of private memory`);
  });
});
