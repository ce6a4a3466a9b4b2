// `npm run fuzz [-- --seconds 600] [--target agent] [--seed 1]`: coverage-guided; what reaches something new is added to
// test/fuzz/corpus/TARGET, what fails to test/fuzz/corpus/crashes-TARGET. `--input FILE` runs that one.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Random } from '../../protocol/test/wire.js';
import { corpusOf, keep } from './corpus.js';
import { Coverage } from './coverage.js';
import { mutate } from './mutate.js';
import { type FuzzTarget, targets } from './targets.js';

/** Looking at the coverage takes as long as some runs: a batch that was new is run again one by one. */
const batchRuns = 64;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '600' },
    target: { type: 'string' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    input: { type: 'string' },
  },
});
const chosen = Object.entries(targets).filter(
  ([name]) => values.target === undefined || values.target === name,
);
const coverage = new Coverage();
await coverage.start();
for (const [name, target] of chosen) {
  if (values.input === undefined) await fuzz(name, target, (1000 * Number(values.seconds)) / chosen.length);
  else await target(readFileSync(values.input));
}

async function fuzz(name: string, target: FuzzTarget, ms: number): Promise<void> {
  const random = new Random(Number(values.seed));
  const corpus = corpusOf(name);
  if (corpus.length === 0) corpus.push(Buffer.alloc(8), random.bytes(64), random.bytes(500));
  for (const input of corpus) await target(input);
  await coverage.fresh();
  const first = corpus.length;
  let runs = 0;
  let failures = 0;
  for (const until = Date.now() + ms; Date.now() < until; ) {
    const batch = Array.from({ length: batchRuns }, () =>
      mutate(random.pick(corpus), random.pick(corpus), random),
    );
    for (const input of batch) {
      runs++;
      const error = await attempt(target, input);
      if (error === undefined) continue;
      process.exitCode = 1;
      const file = keep(`crashes-${name}`, input);
      console.log(`FAILED: ${error.message}\n  again: npm run fuzz -- --target ${name} --input ${file}`);
      if (++failures >= 10) return;
    }
    const fresh = await coverage.fresh();
    for (const input of fresh.size > 0 ? batch : []) {
      await attempt(target, input);
      const its = [...(await coverage.run())].filter((block) => fresh.delete(block));
      if (its.length === 0) continue;
      corpus.push(input);
      keep(name, input);
    }
  }
  console.log(
    `${name}: ${runs} runs, seed ${values.seed}, corpus ${first} -> ${corpus.length}, ${coverage.blocks} blocks, ${failures} failed`,
  );
}

/** @returns what was wrong. */
async function attempt(target: FuzzTarget, input: Uint8Array): Promise<Error | undefined> {
  try {
    await target(input);
    return undefined;
  } catch (error) {
    return error as Error;
  }
}
