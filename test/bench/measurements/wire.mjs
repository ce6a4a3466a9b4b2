import { CountingProxy } from '../counting-proxy.mjs';
import { decimals, table } from '../report.mjs';

const MiB = 2 ** 20;

/** Bytes on the line for each byte carried, both ways, counted by a proxy between host and agent. */
export async function wire({ lineup, quick }) {
  const agent = await lineup.agent();
  const proxy = await CountingProxy.listen(lineup.owner.path('proxy'), agent.path);
  const host = lineup.host(`unix:${proxy.path}`);
  const { produce, consume } = lineup.references;
  const flood = (quick ? 64 : 512) * MiB;
  const few = 10_000;
  const execs = 200;

  await host.ask({ run: 'exec', count: 1 });
  const counted = async (carried, requests) => {
    const before = await proxy.settled();
    for (const request of requests) await host.ask(request);
    const after = await proxy.settled();
    return { carried, toAgent: after.toAgent - before.toAgent, toHost: after.toHost - before.toHost };
  };

  const data = {
    'stdout flood': await counted(flood, [
      { run: 'produce', command: produce, args: [String(flood), '131072'] },
    ]),
    'stdin flood': await counted(flood, [
      { run: 'consume', command: consume, bytes: flood, chunkBytes: 64 * 1024 },
    ]),
    '1-byte stdout writes, as fast as can be': await counted(few, [
      { run: 'produce', command: produce, args: [String(few), '1'] },
    ]),
    '1-byte stdout writes, 100 us apart': await counted(few, [
      { run: 'produce', command: produce, args: [String(few), '1', '100'] },
    ]),
    '1-byte stdin writes, as fast as can be': await counted(few, [
      { run: 'consume', command: consume, bytes: few, chunkBytes: 1 },
    ]),
    'exec of /bin/true': await counted(
      execs,
      Array.from({ length: execs }, () => ({ run: 'exec', count: 1 })),
    ),
  };
  await host.end();
  proxy.close();

  const rows = Object.entries(data).map(([name, { carried, toAgent, toHost }]) => {
    const overhead = (toAgent + toHost) / carried;
    return [name, carried, toAgent, toHost, decimals(overhead, overhead < 2 ? 5 : 1)];
  });
  return {
    data,
    tables: [
      table(
        'bytes on the wire',
        ['', 'carried (bytes; execs)', 'to the agent', 'to the host', 'both ways, for each carried'],
        rows,
      ),
    ],
    targets: [],
  };
}
