import t from 'tap';
import { descendantsOf, descriptorsOf, numbers, settled, until } from '../load/world.js';
import { type RunningAgent, startAgent } from '../support/agentd.js';
import { agentArgs, runSeedOnRealAgent } from './random-faults.js';

/** `npm run test:faults` takes more. */
const seeds = 12;

t.test(
  'commands of the real library and the real agent, over a line on which everything goes wrong',
  async (t) => {
    await using running = await startAgent({ args: agentArgs });
    await runSeedOnRealAgent(running, 0);
    const before = await descriptorsAtRest(running);
    let happened = 0;
    for (const i of numbers(seeds)) {
      const seed = i + 1;
      try {
        happened += (await runSeedOnRealAgent(running, seed)).length;
      } catch (error) {
        t.fail(
          `${(error as Error).message}\nagain: npm run test:faults -- --real ${seed}-${seed} --runs 0 --step 0`,
        );
      }
    }
    t.ok(happened > seeds, `${happened} faults`);
    const after = await descriptorsAtRest(running);
    t.ok(after <= before, `${before} descriptors, then ${after}`);
    t.strictSame(descendantsOf(running.pid), []);
    t.notMatch(running.log(), /internal error/);
  },
);

/** How many the agent has when nothing runs, one host is there, and it has made what the next command needs. */
async function descriptorsAtRest(running: RunningAgent): Promise<number> {
  await using agent = await running.connect();
  await until('every session to be over', async () => (await agent.info()).sessionsRunning === 0);
  await until('every line but ours to be closed', async () => (await agent.info()).lines.length === 1);
  await until('every spool to be gone', async () => (await agent.info()).spoolBytes === 0);
  await agent.exec('true');
  return settled('descriptors', () => descriptorsOf(running.pid));
}
