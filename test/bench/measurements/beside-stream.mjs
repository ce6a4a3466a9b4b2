import { decimals, ratio, table } from '../report.mjs';
import { megabytesPerSecond, nsToMs, summarizeAll } from '../stats.mjs';

/**
 * Ping and exec over a connection that also carries one stream at full speed, which the host reads.
 * The C loop runs beside the same stream too: what it loses is the machine's share, not Hawser's.
 */
export async function besideStream({ lineup, quick }) {
  const rounds = quick ? 3 : 24;
  const perRound = quick ? 40 : 100;
  const host = lineup.host((await lineup.agent()).line);
  const childProcess = lineup.childProcess();
  const cPipes = lineup.cPipes();
  const endless = { command: lineup.references.produce, args: ['0', String(128 * 1024)] };

  const pings = async () => (await host.ask({ run: 'ping', count: perRound })).map(nsToMs);
  const execs = async (contestant) => {
    const times = [];
    for (let i = 0; i < perRound; i++) times.push(nsToMs(await contestant.ask({ run: 'exec', count: 1 })));
    return times;
  };

  const times = {};
  const streamed = { Hawser: { bytes: 0, ns: 0 }, child_process: { bytes: 0, ns: 0 } };
  const note = (name, values) => (times[name] ??= []).push(...values);
  const beside = async (name, contestant, work) => {
    await contestant.ask({ run: 'startStream', ...endless });
    await work();
    const { bytes, ns } = await contestant.ask({ run: 'stopStream' });
    streamed[name].bytes += bytes;
    streamed[name].ns += ns;
  };

  await execs(host); // warm
  for (let round = 0; round < rounds; round++) {
    note('Hawser ping, idle', await pings());
    note('Hawser exec, idle', await execs(host));
    note('C posix_spawn, idle', await execs(cPipes));
    note('child_process exec, idle', await execs(childProcess));
    await beside('Hawser', host, async () => {
      note('Hawser ping, streaming', await pings());
      note('Hawser exec, streaming', await execs(host));
      note("C posix_spawn beside Hawser's stream", await execs(cPipes));
    });
    await beside('child_process', childProcess, async () => {
      note('child_process exec, streaming', await execs(childProcess));
    });
  }

  const execTimes = times['Hawser exec, streaming'];
  const execsPerSecond = (execTimes.length * 1e3) / execTimes.reduce((sum, ms) => sum + ms, 0);
  const measured = summarizeAll(times);
  const rate = megabytesPerSecond(streamed.Hawser.bytes, streamed.Hawser.ns);
  const nodeRate = megabytesPerSecond(streamed.child_process.bytes, streamed.child_process.ns);
  return {
    data: {
      ...measured,
      execsPerSecond,
      streamMegabytesPerSecond: { Hawser: rate, child_process: nodeRate },
    },
    tables: [besideTable(measured)],
    notes: [
      `Hawser's stream ran at ${decimals(rate, 0)} MB/s meanwhile (child_process's: ${decimals(nodeRate, 0)} MB/s), the execs beside it at ${decimals(execsPerSecond, 0)} a second, one after the other.`,
    ],
    targets: [
      {
        what: 'exec p95 beside a stream',
        target: '4 x its idle p50',
        limit: 4,
        value: measured['Hawser exec, streaming'].p95 / measured['Hawser exec, idle'].p50,
        unit: 'x',
        peer: '14; 2.4 (does not stream)',
      },
    ],
  };
}

function besideTable(measured) {
  const idleOf = (name) => measured[name.replace(/,.*| beside.*/, ', idle')];
  const rows = Object.entries(measured).map(([name, one]) => [
    name,
    ...[one.p10, one.p50, one.p90, one.p95, one.p99].map((ms) => decimals(ms, 2)),
    ratio(one.p95 / idleOf(name).p50),
  ]);
  return table(
    'beside one stream at full speed, ms',
    ['', 'p10', 'p50', 'p90', 'p95', 'p99', 'p95 / idle p50'],
    rows,
  );
}
