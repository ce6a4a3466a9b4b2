import { decimals, ratio, table } from '../report.mjs';
import { nsToMs, summarizeAll } from '../stats.mjs';

/** A hundred execs of /bin/true at once, and what the C loop needs for as many. */
export async function atOnce({ lineup, quick }) {
  const rounds = quick ? 7 : 50;
  const host = lineup.host((await lineup.agent()).line);
  const childProcess = lineup.childProcess();
  const cPipes = lineup.cPipes();

  const hundred =
    (contestant, run = 'exec') =>
    () =>
      contestant.ask({ run, count: 100 });
  const contestants = {
    Hawser: hundred(host),
    child_process: hundred(childProcess),
    'C posix_spawn, at once': hundred(cPipes),
    'C posix_spawn, one by one': hundred(cPipes, 'loop'),
  };
  const times = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]));
  for (let round = -2; round < rounds; round++) {
    for (const [name, run] of Object.entries(contestants)) {
      const ns = await run();
      if (round >= 0) times[name].push(nsToMs(ns));
    }
  }

  const measured = summarizeAll(times);
  const medians = Object.fromEntries(Object.entries(measured).map(([name, { p50 }]) => [name, p50]));
  const rows = Object.entries(measured).map(([name, { p10, p50, p90, p99 }]) => [
    name,
    ...[p10, p50, p90, p99].map((ms) => decimals(ms, 1)),
    name === 'Hawser' ? '' : ratio(medians.Hawser / p50),
  ]);
  return {
    data: { rounds, medians },
    tables: [
      table(
        `100 execs, ms until the last is done, ${rounds} rounds, interleaved`,
        ['', 'p10', 'p50', 'p90', 'p99', 'Hawser / it'],
        rows,
      ),
    ],
    notes: [
      `The C loop itself, at once, takes ${ratio(medians['C posix_spawn, at once'] / medians.child_process)} of what child_process takes here.`,
    ],
    targets: [
      {
        what: '100 concurrent execs',
        target: '0.3 x child_process (then 0.2)',
        limit: 0.3,
        value: medians.Hawser / medians.child_process,
        unit: 'x',
        peer: '0.25',
      },
    ],
  };
}
