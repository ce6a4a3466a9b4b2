// `npm run test:faults [-- --runs 10000] [--seed 1] [--step 1]`: what protocol/test/faults/faults.test.ts does, more
// often. A seed that fails is printed with the command that repeats it.
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { everyFault, kinds, runSeed } from '../../protocol/test/faults/scenarios.js';
import { agentArgs, runSeedOnRealAgent } from '../reliability/random-faults.js';
import { startAgent } from '../support/agentd.js';

interface Part {
  readonly seeds: readonly number[];
  /** Of every so many single faults, this worker takes those of its number. */
  readonly step: number;
  readonly worker: number;
  readonly workers: number;
}

interface Tally {
  runs: number;
  failed: number;
  resumptions: number;
  faults: number;
}

async function work({ seeds, step, worker, workers }: Part): Promise<Tally> {
  const tally: Tally = { runs: 0, failed: 0, resumptions: 0, faults: 0 };
  const attempt = async (again: string, run: () => Promise<unknown>): Promise<void> => {
    tally.runs++;
    try {
      const outcome = (await run()) as { resumptions: number; faults: number };
      tally.resumptions += outcome.resumptions;
      tally.faults += outcome.faults;
    } catch (error) {
      tally.failed++;
      console.log(`FAILED: ${(error as Error).message}\n  again: ${again}`);
    }
  };
  for (const seed of seeds) {
    await attempt(`npm run test:faults -- --seed ${seed} --runs 1 --step 0 --real 0`, () => runSeed(seed));
  }
  if (step > 0) {
    let number = 0;
    for (const kind of kinds) {
      for await (const { name, run } of everyFault(kind, step)) {
        if (number++ % workers === worker) await attempt(`npm run test:faults -- --runs 0 (${name})`, run);
      }
    }
  }
  return tally;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '10000' },
      seed: { type: 'string', default: '1' },
      step: { type: 'string', default: '1' },
      /** Seeds for the real agent: `--real 300` runs 1 to 300, `--real 17-17` that one. */
      real: { type: 'string', default: '300' },
    },
  });
  const [runs, seed, step] = [Number(values.runs), Number(values.seed), Number(values.step)];
  const started = performance.now();
  const workers = runs + step === 1 ? 1 : availableParallelism();
  const tallies = await Promise.all(
    Array.from({ length: workers }, (_, worker) => {
      const seeds = Array.from({ length: runs }, (_unused, i) => seed + i).filter(
        (n) => n % workers === worker,
      );
      const part: Part = { seeds: workers === 1 ? [seed].slice(0, runs) : seeds, step, worker, workers };
      return new Promise<Tally>((resolve, reject) => {
        new Worker(new URL(import.meta.url), { workerData: part })
          .once('message', resolve)
          .once('error', reject);
      });
    }),
  );
  const sum = (name: keyof Tally): number => tallies.reduce((all, tally) => all + tally[name], 0);
  const seconds = Math.round((performance.now() - started) / 1000);
  console.log(
    `${sum('runs')} conversations with ${sum('faults')} faults, resumed ${sum('resumptions')} times, in ${seconds} s: ${sum('failed')} failed`,
  );
  const failed = await onRealAgent(values.real);
  if (sum('failed') + failed > 0) process.exitCode = 1;
}

/** @returns how many failed. */
async function onRealAgent(range: string): Promise<number> {
  const [first, last] = range.includes('-') ? range.split('-').map(Number) : [1, Number(range)];
  const started = performance.now();
  let [runs, faults, failed] = [0, 0, 0];
  await using running = await startAgent({ args: agentArgs });
  for (let seed = first ?? 1; seed <= (last ?? 0); seed++) {
    runs++;
    try {
      faults += (await runSeedOnRealAgent(running, seed)).length;
    } catch (error) {
      failed++;
      const again = `npm run test:faults -- --runs 0 --step 0 --real ${seed}-${seed}`;
      console.log(`FAILED: ${(error as Error).message}\n  again: ${again}`);
    }
  }
  const seconds = Math.round((performance.now() - started) / 1000);
  console.log(`${runs} lines to a real agent with ${faults} faults, in ${seconds} s: ${failed} failed`);
  return failed;
}

if (isMainThread) {
  await main();
} else {
  const { parentPort } = await import('node:worker_threads');
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker's port, not a window
  parentPort?.postMessage(await work(workerData as Part));
}
