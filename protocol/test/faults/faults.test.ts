import t from 'tap';
import { everyFault, kinds, runSeed } from './scenarios.js';

/** `npm run test:faults` takes more of everything. */
const seeds = 150;
const step = 23;

t.test(
  'whatever happens to a line, everything arrives once, in order and whole, and nothing is left',
  async (t) => {
    let resumptions = 0;
    for (let seed = 1; seed <= seeds; seed++) {
      try {
        resumptions += (await runSeed(seed)).resumptions;
      } catch (error) {
        t.fail(
          `${(error as Error).message}\nagain: npm run test:faults -- --seed ${seed} --runs 1 --step 0 --real 0`,
        );
      }
    }
    t.ok(resumptions > 2 * seeds, `${seeds} conversations went on ${resumptions} times`);
  },
);

for (const kind of kinds) {
  t.test(`one fault, behind every ${step}rd byte of a conversation over a ${kind} line`, async (t) => {
    let runs = 0;
    for await (const { name, run } of everyFault(kind, step)) {
      runs++;
      await run().catch((error: Error) => t.fail(`${name}: ${error.message}`));
    }
    t.ok(runs > 300, `${runs} conversations`);
  });
}
