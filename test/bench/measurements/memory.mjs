import { setTimeout as delay } from 'node:timers/promises';
import { memoryOf, memoryPeak } from '../agent.mjs';
import { decimals, table } from '../report.mjs';

const MiB = 2 ** 20;

/** What agentd's process holds: idle, with many idle sessions, and at its highest under each load. */
export async function memory({ lineup, quick }) {
  const idle = await idleMemory(lineup, quick ? 200 : 1_000);
  const loads = await loadPeaks(lineup, quick);

  const worst = Math.max(...Object.values(loads).map((one) => one.privateDirty)) / 1024;
  const mib = (kib) => decimals(kib / 1024, 1);
  const per = idle.perSession;
  return {
    data: { idle, loads },
    tables: [
      table(
        'agent memory, MiB',
        ['', 'RSS', 'private dirty'],
        [
          ['idle after 100 execs', mib(idle.before.rss), mib(idle.before.privateDirty)],
          [`with ${idle.sessions} idle sessions`, mib(idle.during.rss), mib(idle.during.privateDirty)],
          ['after them', mib(idle.after.rss), mib(idle.after.privateDirty)],
          ['KiB for each idle session', decimals(per.rss, 1), decimals(per.privateDirty, 1)],
        ],
      ),
      table(
        'agent memory at its highest, MiB, a fresh agent for each load',
        ['', 'RSS', 'private dirty'],
        Object.entries(loads).map(([name, one]) => [name, mib(one.rss), mib(one.privateDirty)]),
      ),
    ],
    targets: [
      {
        what: 'idle private dirty',
        target: '14 MiB',
        limit: 14,
        value: idle.before.privateDirty / 1024,
        unit: 'MiB',
        peer: '0.2 MiB',
      },
      {
        what: 'per idle session',
        target: '40 KiB',
        limit: 40,
        value: per.privateDirty,
        unit: 'KiB',
        peer: '13 KiB',
      },
      {
        what: 'private dirty at the worst',
        target: '64 MiB',
        limit: 64,
        value: worst,
        unit: 'MiB',
        peer: '22 MiB',
      },
    ],
  };
}

async function idleMemory(lineup, sessions) {
  const agent = await lineup.agent();
  const host = lineup.host(agent.line);
  for (let i = 0; i < 100; i++) await host.ask({ run: 'exec', count: 1 });
  await delay(1_000); // what garbage collection and timers still have to do
  const before = memoryOf(agent.pid);
  await host.ask({ run: 'openIdle', count: sessions, command: '/bin/cat', args: [] });
  await delay(1_000);
  const during = memoryOf(agent.pid);
  await host.ask({ run: 'closeIdle' });
  await delay(1_000);
  const after = memoryOf(agent.pid);
  await host.end();
  await agent.end();
  const perSession = {
    rss: (during.rss - before.rss) / sessions,
    privateDirty: (during.privateDirty - before.privateDirty) / sessions,
  };
  return { sessions, before, during, after, perSession };
}

async function loadPeaks(lineup, quick) {
  const loads = loadRequests(lineup.references, quick);
  const peaks = {};
  for (const [name, requests] of Object.entries(loads)) {
    const agent = await lineup.agent();
    const host = lineup.host(agent.line);
    peaks[name] = await memoryPeak(agent.pid, async () => {
      for (const request of requests) await host.ask(request);
    });
    await host.end();
    await agent.end();
  }
  return peaks;
}

/** The loads by name, each as the requests that the host gets one after the other. */
function loadRequests({ produce, consume }, quick) {
  const bytes = (quick ? 128 : 2_048) * MiB;
  const writeBytes = String(128 * 1024);
  const holdMs = quick ? 500 : 3_000;
  const endless = { command: produce, args: ['0', writeBytes] };
  const loads = {
    'stdout flood': [{ run: 'produce', command: produce, args: [String(bytes), writeBytes] }],
    'stdin flood': [{ run: 'consume', command: consume, bytes, chunkBytes: 64 * 1024 }],
    '1-byte writes of stdout': [
      { run: 'produce', command: produce, args: [quick ? '200000' : '1000000', '1'] },
    ],
    'child that does not read, 100 MiB sent': [{ run: 'deafChild', bytes: 100 * MiB, holdMs }],
    'host that does not read': [{ run: 'deafHost', count: 1, ...endless, holdMs }],
    'host that does not read 50 sessions': [{ run: 'deafHost', count: 50, ...endless, holdMs }],
    '100 execs at once, repeatedly': Array.from({ length: quick ? 3 : 20 }, () => ({
      run: 'exec',
      count: 100,
    })),
    '200 mixed sessions': [
      {
        run: 'mixed',
        count: 200,
        producer: { command: produce, args: [String(8 * MiB), writeBytes] },
        bytes: 4 * MiB,
        chunkBytes: 64 * 1024,
      },
    ],
  };
  return quick ? loads : { ...loads, 'all of these, one agent': Object.values(loads).flat() };
}
