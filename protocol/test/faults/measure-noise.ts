// `node --conditions=@hawser/source --import=./tooling/typescript.mjs protocol/test/faults/measure-noise.ts`: what a
// serial line carries of one output when so many of its bytes go wrong, on simulated time. The table is in
// docs/reliability.md.
import type { Limits } from '../../src/limits.js';
import { Random } from '../wire.js';
import { Conversation } from './conversation.js';
import type { CableOptions, Fault } from './sim-cable.js';
import { World } from './sim-world.js';

/** Each of them, of flips, losses, doublings and insertions, as often as the others. */
function noise(random: Random, rate: number, within: number): Fault[] {
  const faults: Fault[] = [];
  for (let at = 0; ; ) {
    // The gap between two events of a Poisson process.
    at += Math.ceil(-Math.log(1 - random.below(2 ** 30) / 2 ** 30) / rate);
    if (at > within) return faults;
    const kind = random.below(4);
    if (kind === 0) faults.push({ at, kind: 'flip', bit: random.below(8) });
    else if (kind === 1) faults.push({ at, kind: 'drop', bytes: 1 });
    else if (kind === 2) faults.push({ at, kind: 'double', bytes: 1 });
    else faults.push({ at, kind: 'insert', bytes: random.bytes(1) });
  }
}

export async function goodput(
  rate: number,
  line: { bytesPerMs: number; bytes: number; bufferBytes: number; dataBytes: number; seed: number },
  limits: Partial<Limits> = {},
): Promise<{ share: number; resumptions: number; faults: number }> {
  const random = new Random(line.seed);
  const cable: CableOptions = {
    kind: 'uart',
    hostMayCorrupt: true,
    agentMayCorrupt: true,
    bufferBytes: line.bufferBytes,
    bytesPerMs: line.bytesPerMs,
    latencyMs: 0,
    dataBytesPreferred: line.dataBytes,
    // What arrives is read at once, a few bytes at a time.
    pieceBytes: () => 256,
    writeBytes: () => Number.MAX_SAFE_INTEGER,
    toAgent: rate === 0 ? [] : noise(random, rate, line.bytes * 20),
    toHost: rate === 0 ? [] : noise(random, rate, line.bytes * 20),
  };
  const plan = { stdinBytes: 0, stdoutBytes: line.bytes, stderrBytes: 0, signals: 0, dawdleMs: 0 };
  const before = cable.toAgent.length + cable.toHost.length;
  const conversation = new Conversation(
    (request) => new World({ cable, budgetBytes: 16 * 1024 * 1024, limits }, request),
    [{ ...plan, spoolBytes: 1024 * 1024 }],
    1,
  );
  let ms = 0;
  const left = cable.toAgent.length + cable.toHost.length;
  let faults = 0;
  await conversation.run(36_000_000, () => {
    ms = conversation.world.clock.now();
    faults = before - (cable.toAgent.length + cable.toHost.length);
  });
  return {
    share: line.bytes / (ms * line.bytesPerMs),
    resumptions: conversation.world.agent.resumptions,
    faults: left === 0 ? 0 : faults,
  };
}

const lines = [
  { name: '115,200 baud', bytesPerMs: 11.52, bytes: 500_000, bufferBytes: 4096, dataBytes: 1152 },
  { name: '1 MB/s', bytesPerMs: 1000, bytes: 4_000_000, bufferBytes: 4096, dataBytes: 4096 },
];

if (process.argv[1]?.endsWith('measure-noise.ts') === true) {
  for (const { name, ...line } of lines) {
    for (const rate of [0, 1e-7, 1e-6, 1e-5, 3e-5, 1e-4, 3e-4]) {
      const results: Awaited<ReturnType<typeof goodput>>[] = [];
      for (let seed = 1; seed <= 3; seed++) results.push(await goodput(rate, { ...line, seed }));
      const mean = (part: 'share' | 'resumptions' | 'faults'): number =>
        results.reduce((sum, one) => sum + one[part], 0) / results.length;
      console.log(
        `${name}\t${rate}\t${(100 * mean('share')).toFixed(1)} %\t${mean('faults').toFixed(0)} faults\t${mean('resumptions').toFixed(0)} resumptions`,
      );
    }
  }
}
