import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { connect } from '@hawser/host-client';
import { Random } from '../../protocol/test/wire.js';
import { numbers } from '../load/world.js';
import type { RunningAgent } from '../support/agentd.js';
import { FaultyProxy, type ProxyFault } from '../support/faulty-proxy.js';

const KiB = 1024;

/** For an agent of these tests: a silence is found soon, and a host whose goodbye was lost is not waited for long. */
export const agentArgs = [
  // A pool of cgroups would hold now more and now fewer descriptors.
  '--containment',
  'walk',
  '--heartbeat-interval-ms=150',
  '--heartbeat-timeout-ms=450',
  '--resume-grace-ms=10000',
];

function planOf(random: Random, within: number, corrupts: boolean): ProxyFault[] {
  const faults = numbers(random.below(8)).map((): ProxyFault => {
    const at = random.below(within);
    const kinds = ['cut', 'cut', 'silence', 'stall', ...(corrupts ? corruptions : [])] as const;
    const kind = random.pick(kinds);
    switch (kind) {
      case 'drop':
      case 'double':
        return { at, kind, bytes: 1 + random.below(3000) };
      case 'insert':
        return { at, kind, bytes: random.bytes(1 + random.below(100)) };
      case 'stall':
        return { at, kind, ms: random.below(100) };
      default:
        return { at, kind };
    }
  });
  return faults.sort((a, b) => a.at - b.at);
}

const corruptions = ['flip', 'flip', 'flip', 'drop', 'double', 'insert'] as const;

/**
 * Some commands of different kinds, at once, through a proxy that spoils the line as the seed says.
 *
 * @returns what happened on the way. @throws Error for whatever is not as it must be.
 */
export async function runSeedOnRealAgent(running: RunningAgent, seed: number): Promise<readonly string[]> {
  const random = new Random(seed);
  const corrupts = random.below(2) === 0;
  const bytes = random.pick([2_000, 60 * KiB, 600 * KiB]);
  const pieceBytes = bytes < 3_000 && random.below(2) === 0 ? 1 : undefined;
  const plan = {
    toAgent: planOf(random, bytes * 2, corrupts),
    toHost: planOf(random, bytes * 3, corrupts),
    pieceBytes,
  };
  await using proxy = await FaultyProxy.listen(
    join(running.folder, `faulty-${seed}.sock`),
    running.line.slice('unix:'.length),
    plan,
  );
  const agent = await connect(proxy.line, {
    checked: corrupts,
    heartbeatIntervalMs: 150,
    heartbeatTimeoutMs: 450,
    reconnectMs: 10_000,
    handshakeTimeoutMs: 3_000,
  }).catch((error: Error) => {
    // The first greeting was spoilt: nothing was promised yet.
    if (proxy.happened.length === 0) throw error;
    return undefined;
  });
  if (agent === undefined) return proxy.happened;
  const input = random.bytes(bytes);
  const digest = createHash('sha256').update(input).digest('hex');
  const same = (what: string, got: unknown, wanted: unknown): void => {
    if (got !== wanted) throw new Error(`${what}: ${String(got).slice(0, 80)} instead of ${String(wanted)}`);
  };
  const work = [
    async () => {
      const { stdout } = await agent.exec('cat', [], { input, encoding: 'buffer' });
      same('cat', createHash('sha256').update(stdout).digest('hex'), digest);
    },
    async () => same('sha256sum', (await agent.exec('sha256sum', [], { input })).stdout.slice(0, 64), digest),
    async () => {
      const { stdout, stderr, code } = await agent.exec('sh', ['-c', 'echo out; echo err >&2; exit 7']);
      same('three ways', `${stdout}${stderr}${code}`, 'out\nerr\n7');
    },
    async () => {
      const session = await agent.spawn('sleep', ['1000'], { stdin: 'null' });
      await session.signal('SIGUSR1');
      same('signal', (await session.exited).signal, 'SIGUSR1');
    },
    async () => {
      for (const i of numbers(5)) same('echo', (await agent.exec('echo', [String(i)])).stdout, `${i}\n`);
    },
  ];
  try {
    await Promise.all(work.map((one) => one()));
    proxy.calm();
  } finally {
    await agent.close();
  }
  return proxy.happened;
}
