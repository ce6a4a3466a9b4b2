import { decimals, ratio, table } from '../report.mjs';
import { nsToMs, summarize } from '../stats.mjs';

/** From starting agentd until a host has shaken hands with it, against what Node takes to do nothing. */
export async function startup({ lineup, quick }) {
  const rounds = quick ? 8 : 20;
  const starter = lineup.startup();
  const times = { agentd: [], 'node -e 0': [] };
  for (let round = -2; round < rounds; round++) {
    const agentMs = nsToMs(await starter.ask({ run: 'agent' }));
    const nodeMs = nsToMs(await starter.ask({ run: 'node' }));
    if (round < 0) continue;
    times.agentd.push(agentMs);
    times['node -e 0'].push(nodeMs);
  }

  const agentd = summarize(times.agentd);
  const node = summarize(times['node -e 0']);
  const row = (name, { p10, p50, p90, p99 }, last) => [
    name,
    ...[p10, p50, p90, p99].map((ms) => decimals(ms, 1)),
    last,
  ];
  return {
    data: { rounds, agentd, node },
    tables: [
      table(
        `start to ready, ms, ${rounds} rounds, interleaved`,
        ['', 'p10', 'p50', 'p90', 'p99', 'agentd / it'],
        [
          row('agentd, first handshake done', agentd, ''),
          row('node -e 0', node, ratio(agentd.p50 / node.p50)),
        ],
      ),
    ],
    targets: [
      {
        what: 'start to ready',
        target: '1.5 x node -e 0',
        limit: 1.5,
        value: agentd.p50 / node.p50,
        unit: 'x',
      },
    ],
  };
}
