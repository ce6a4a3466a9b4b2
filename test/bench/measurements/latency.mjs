import { decimals, ratio, table } from '../report.mjs';
import { median, nsToMs, summarizeAll } from '../stats.mjs';

/** How long one exec of /bin/true takes, with pipes and in a terminal, every contestant in each round. */
export async function latency({ lineup, quick }) {
  const rounds = quick ? 150 : 3_000;
  const host = lineup.host((await lineup.agent()).line);
  const childProcess = lineup.childProcess();
  const nodePty = lineup.nodePty();
  const cPipes = lineup.cPipes();
  const cTerminal = lineup.cTerminal();

  const one =
    (contestant, run = 'exec') =>
    () =>
      contestant.ask({ run, count: 1 });
  const times = await interleaved(rounds, {
    hawser: one(host, 'threePipes'),
    hawserNoStdin: one(host),
    cPipes: one(cPipes),
    childProcess: one(childProcess),
    hawserTerminal: one(host, 'terminal'),
    cTerminal: one(cTerminal),
    nodePty: one(nodePty),
  });

  const measured = summarizeAll(times);

  const piped = {
    Hawser: measured.hawser,
    'Hawser, without stdin': measured.hawserNoStdin,
    'C posix_spawn': measured.cPipes,
    child_process: measured.childProcess,
  };
  const terminal = {
    Hawser: measured.hawserTerminal,
    'C forkpty': measured.cTerminal,
    'node-pty': measured.nodePty,
  };
  return {
    data: { rounds, ...measured },
    tables: [
      distribution(`piped exec of /bin/true, three pipes, ms, ${rounds} each, interleaved`, piped),
      distribution(`terminal exec of /bin/true, ms, ${rounds} each, interleaved`, terminal),
    ],
    notes: [
      `Hawser's p50 over its reference's, a third of the rounds after the other (in the first, V8 still compiles): piped ${thirds(times.hawser, times.cPipes)}; terminal ${thirds(times.hawserTerminal, times.cTerminal)}.`,
    ],
    targets: [
      {
        what: 'piped exec p50',
        target: '1.6 x C loop (then 1.4)',
        limit: 1.6,
        value: measured.hawser.p50 / measured.cPipes.p50,
        unit: 'x',
        peer: '1.46',
      },
      {
        what: 'terminal exec p50',
        target: '1.5 x C forkpty',
        limit: 1.5,
        value: measured.hawserTerminal.p50 / measured.cTerminal.p50,
        unit: 'x',
        peer: '1.26',
      },
    ],
  };
}

/**
 * Runs each of `runs` once per round, and gives the milliseconds that each took, in their order. Every round
 * has an order of its own: whoever comes after another program finds the caches as that one left them.
 */
async function interleaved(rounds, runs) {
  const warmUp = Math.ceil(rounds / 10);
  const times = Object.fromEntries(Object.keys(runs).map((name) => [name, []]));
  for (let round = -warmUp; round < rounds; round++) {
    for (const [name, run] of shuffled(Object.entries(runs))) {
      const ns = await run();
      if (round >= 0) times[name].push(nsToMs(ns));
    }
  }
  return times;
}

/** The ratio of two p50s in each third of the rounds. */
function thirds(ours, theirs) {
  const third = Math.floor(ours.length / 3);
  const p50 = (values, i) => median(values.slice(i * third, (i + 1) * third));
  return [0, 1, 2].map((i) => ratio(p50(ours, i) / p50(theirs, i))).join(', ');
}

function shuffled(list) {
  const shuffledList = [...list];
  for (let i = shuffledList.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [shuffledList[i], shuffledList[j]] = [shuffledList[j], shuffledList[i]];
  }
  return shuffledList;
}

/** One row for each contestant; the first is Hawser, its ratios to the others are of the p50s. */
function distribution(title, contestants) {
  const [[, ours]] = Object.entries(contestants);
  const rows = Object.entries(contestants).map(([name, { p10, p50, p90, p99 }]) => [
    name,
    ...[p10, p50, p90, p99].map((ms) => decimals(ms, 2)),
    name.startsWith('Hawser') ? '' : ratio(ours.p50 / p50),
  ]);
  return table(title, ['', 'p10', 'p50', 'p90', 'p99', 'Hawser p50 / its p50'], rows);
}
