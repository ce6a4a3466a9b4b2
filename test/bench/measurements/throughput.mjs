import { decimals, ratio, table } from '../report.mjs';
import { median, megabytesPerSecond } from '../stats.mjs';

/** socat's default, what Node reads and writes at a time, and the largest that ever helped it. */
const socatBuffers = [8, 64, 128];

/**
 * Bytes a second from a command that writes as fast as it can, and to one that reads as fast as it can,
 * against socat relaying the same command over a Unix socket to the same kind of Node reader or writer.
 */
export async function throughput({ lineup, quick }) {
  const bytes = (quick ? 256 : 1024) * 2 ** 20;
  const rounds = quick ? 3 : 7;
  const host = lineup.host((await lineup.agent()).line);
  const socat = lineup.socat();

  const requests = {
    stdout: { run: 'produce', command: lineup.references.produce, args: [String(bytes), String(128 * 1024)] },
    stdin: { run: 'consume', command: lineup.references.consume, bytes, chunkBytes: 64 * 1024 },
  };
  const data = {};
  for (const [direction, request] of Object.entries(requests)) {
    const contestants = { Hawser: () => host.ask(request) };
    for (const kib of socatBuffers) {
      contestants[`socat -b ${kib} KiB`] = () => socat.ask({ ...request, bufferBytes: kib * 1024 });
    }
    data[direction] = await rates(rounds, bytes, contestants);
  }

  return {
    data: { bytes, rounds, ...data },
    tables: Object.entries(data).map(([direction, measured]) =>
      rateTable(direction, bytes, rounds, measured),
    ),
    targets: Object.entries(data).map(([direction, measured]) => ({
      what: direction,
      target: '0.9 x best socat',
      floor: 0.9,
      value: measured.Hawser.median / bestReference(measured).median,
      unit: 'x',
      peer: direction === 'stdout' ? '0.31, OpenSSH 0.65' : '0.21, OpenSSH 0.53',
    })),
  };
}

async function rates(rounds, bytes, contestants) {
  const measured = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]));
  for (let round = -1; round < rounds; round++) {
    for (const [name, run] of Object.entries(contestants)) {
      const answer = await run();
      if (answer.bytes !== bytes) throw new Error(`${name} carried ${answer.bytes} of ${bytes} bytes`);
      if (round >= 0) measured[name].push(megabytesPerSecond(bytes, answer.ns));
    }
  }
  return Object.fromEntries(
    Object.entries(measured).map(([name, values]) => [
      name,
      { median: median(values), lowest: Math.min(...values), highest: Math.max(...values) },
    ]),
  );
}

function bestReference({ Hawser: _ours, ...references }) {
  return Object.values(references).reduce((best, one) => (one.median > best.median ? one : best));
}

function rateTable(direction, bytes, rounds, measured) {
  const rows = Object.entries(measured).map(([name, { lowest, median: middle, highest }]) => [
    name,
    ...[lowest, middle, highest].map((rate) => decimals(rate, 0)),
    name === 'Hawser' ? '' : ratio(measured.Hawser.median / middle),
  ]);
  const title = `${direction}, MB/s, ${bytes / 2 ** 20} MiB, ${rounds} rounds, interleaved`;
  return table(title, ['', 'lowest', 'median', 'highest', 'Hawser / it'], rows);
}
