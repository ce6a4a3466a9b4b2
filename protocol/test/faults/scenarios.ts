import type { Limits } from '../../src/limits.js';
import { Random } from '../wire.js';
import type { SessionPlan } from './conversation.js';
import { Conversation } from './conversation.js';
import type { CableOptions, Fault } from './sim-cable.js';
import { World } from './sim-world.js';

const KiB = 1024;

/** Several silences in a row take longer than any patience that an agent has by default. */
const patient: Partial<Limits> = { resumeGraceMs: 1_800_000 };

/** A conversation may take so long, of simulated time: a silence costs a heartbeat's patience. */
const limitMs = 3_600_000;

/**
 * - sound: a socket. What is taken arrives, in order, until the line is cut or falls silent.
 * - noisy: a serial port at both ends.
 * - mixed: the guest has a serial port, the host a socket to whoever has its other end, as with QEMU.
 */
export const kinds = ['sound', 'noisy', 'mixed'] as const;
type ScenarioKind = (typeof kinds)[number];

interface Outcome {
  readonly cables: number;
  readonly resumptions: number;
  readonly faults: number;
  /** Simulated. */
  readonly ms: number;
  readonly toAgent: number;
  readonly toHost: number;
}

function spoilingFault(at: number, random: Random): Fault {
  switch (random.below(4)) {
    case 0:
      return { at, kind: 'flip', bit: random.below(8) };
    case 1:
      return { at, kind: 'drop', bytes: 1 + random.below(random.pick([3, 40, 3000])) };
    case 2:
      return { at, kind: 'double', bytes: 1 + random.below(random.pick([3, 40, 3000])) };
    default:
      return { at, kind: 'insert', bytes: random.bytes(1 + random.below(random.pick([3, 200]))) };
  }
}

function soundFault(at: number, random: Random): Fault {
  switch (random.below(6)) {
    case 0:
      return { at, kind: 'silence' };
    case 1:
      return { at, kind: 'stall', ms: random.pick([1, 300, 4000, 25_000]) };
    default:
      return { at, kind: 'cut', knows: random.pick(['both', 'both', 'host', 'agent'] as const) };
  }
}

function faultsOf(kind: ScenarioKind, random: Random, within: number): Fault[] {
  const faults: Fault[] = [];
  for (let left = random.below(random.pick([2, 6, 20])); left > 0; left--) {
    const at = random.below(within);
    const spoil = kind !== 'sound' && random.below(5) > 0;
    faults.push(spoil ? spoilingFault(at, random) : soundFault(at, random));
  }
  return faults.sort((a, b) => a.at - b.at);
}

function lineOf(kind: ScenarioKind, random: Random): CableOptions & { tiny: boolean } {
  const piece = random.pick(['tiny', 'some', 'all', 'all'] as const);
  const write = random.pick(['tiny', 'some', 'all', 'all'] as const);
  // Byte by byte is dear: for long enough to have seen every frame that way.
  let tinyLeft = 6_000;
  const tiny = (): number => (tinyLeft-- > 0 ? 1 : Number.MAX_SAFE_INTEGER);
  const sizes = { tiny, some: () => 1 + random.below(2000), all: () => Number.MAX_SAFE_INTEGER };
  // 115,200 baud is 11.5 bytes a millisecond.
  const bytesPerMs = random.pick([11.5, 100, 10_000, Number.POSITIVE_INFINITY]);
  // No more than some seconds of the line's time: what waits longer than a heartbeat's patience looks like silence.
  const bufferBytes = Math.min(random.pick([64, 4096, 64 * KiB, 1024 * KiB]), 5000 * bytesPerMs);
  return {
    kind: kind === 'noisy' ? 'uart' : 'unix',
    hostMayCorrupt: kind === 'noisy',
    agentMayCorrupt: kind !== 'sound',
    bufferBytes,
    bytesPerMs,
    latencyMs: piece === 'all' && bufferBytes > 64 ? random.pick([0, 0, 1, 30, 300]) : 0,
    dataBytesPreferred: kind === 'sound' ? random.pick([1000, 128 * KiB]) : 1152,
    pieceBytes: sizes[piece],
    writeBytes: sizes[write],
    toAgent: [],
    toHost: [],
    tiny: piece === 'tiny' || write === 'tiny',
  };
}

function planOf(random: Random, tiny: boolean): SessionPlan {
  const most = tiny ? 2 * KiB : random.pick([500, 20 * KiB, 200 * KiB]);
  return {
    stdinBytes: random.below(most),
    stdoutBytes: random.below(most),
    stderrBytes: random.below(random.pick([1, most])),
    signals: random.below(random.pick([1, 5, 100])),
    dawdleMs: random.pick([0, 0, 10, 500]),
    spoolBytes: random.pick([4 * KiB, 64 * KiB, 1024 * KiB]),
  };
}

/** One conversation over a line of the seed's choice. @throws Error for whatever is not as it must be. */
export async function runSeed(seed: number): Promise<Outcome> {
  const random = new Random(seed);
  const kind = random.pick(kinds);
  const { tiny, ...cable } = lineOf(kind, random);
  const plans = Array.from({ length: 1 + random.below(4) }, () => planOf(random, tiny));
  const sum = (part: (plan: SessionPlan) => number): number => plans.reduce((all, one) => all + part(one), 0);
  cable.toAgent.push(
    ...faultsOf(kind, random, 1000 + 1.2 * sum((plan) => plan.stdinBytes + 60 * plan.signals)),
  );
  cable.toHost.push(
    ...faultsOf(
      kind,
      random,
      1000 + 1.2 * sum((plan) => plan.stdoutBytes + plan.stderrBytes + 60 * plan.signals),
    ),
  );
  const windowBytes = random.pick([2 * KiB, 64 * KiB, 1024 * KiB]);
  const budgetBytes = random.pick([64 * KiB, 16 * KiB * KiB]);
  return run(cable, plans, { seed, windowBytes, budgetBytes, limits: patient });
}

/** A short conversation with one fault, behind so many bytes of one direction. */
async function runSingleFault(kind: ScenarioKind, direction: Direction, fault: Fault): Promise<Outcome> {
  const cable: CableOptions = {
    kind: kind === 'noisy' ? 'uart' : 'unix',
    hostMayCorrupt: kind === 'noisy',
    agentMayCorrupt: kind !== 'sound',
    bufferBytes: 64 * KiB,
    bytesPerMs: Number.POSITIVE_INFINITY,
    latencyMs: 1,
    dataBytesPreferred: 1152,
    pieceBytes: () => Number.MAX_SAFE_INTEGER,
    writeBytes: () => Number.MAX_SAFE_INTEGER,
    toAgent: [],
    toHost: [],
  };
  cable[direction].push(fault);
  const plan = { stdinBytes: 300, stdoutBytes: 300, stderrBytes: 50, signals: 3, dawdleMs: 0 };
  return run(cable, [{ ...plan, spoolBytes: 64 * KiB }], {
    seed: fault.at,
    windowBytes: 64 * KiB,
    budgetBytes: 1024 * KiB,
  });
}

/** Bytes that the conversation of `runSingleFault` carries one way when nothing goes wrong. */
async function undisturbedBytes(kind: ScenarioKind, direction: Direction): Promise<number> {
  const outcome = await runSingleFault(kind, direction, { at: Number.MAX_SAFE_INTEGER, kind: 'silence' });
  return outcome[direction];
}

type Direction = 'toAgent' | 'toHost';

/** Every fault that `kind` of line knows, behind every byte of a short conversation, or behind every `step`th. */
export async function* everyFault(
  kind: ScenarioKind,
  step: number,
): AsyncGenerator<{ name: string; run: () => Promise<unknown> }> {
  const random = new Random(1);
  for (const direction of ['toAgent', 'toHost'] as const) {
    const bytes = await undisturbedBytes(kind, direction);
    for (let at = 0; at <= bytes; at += step) {
      const faults: Fault[] =
        kind === 'sound'
          ? [
              { at, kind: 'cut', knows: 'both' },
              { at, kind: 'cut', knows: 'host' },
              { at, kind: 'cut', knows: 'agent' },
              { at, kind: 'silence' },
            ]
          : [
              { at, kind: 'flip', bit: at % 8 },
              { at, kind: 'drop', bytes: 1 + random.below(40) },
              { at, kind: 'double', bytes: 1 + random.below(40) },
              { at, kind: 'insert', bytes: random.bytes(1 + random.below(10)) },
              { at, kind: 'cut', knows: 'both' },
            ];
      for (const fault of faults) {
        const name = `${kind} ${direction}: ${fault.kind} behind byte ${at} of ${bytes}`;
        yield { name, run: () => runSingleFault(kind, direction, fault) };
      }
    }
  }
}

async function run(
  cable: CableOptions,
  plans: readonly SessionPlan[],
  options: { seed: number; windowBytes: number; budgetBytes: number; limits?: Partial<Limits> },
): Promise<Outcome> {
  const { seed, windowBytes, budgetBytes } = options;
  const faults = cable.toAgent.length + cable.toHost.length;
  const conversation = new Conversation(
    (request) => new World({ cable, budgetBytes, limits: { windowBytes, ...options.limits } }, request),
    plans,
    seed,
  );
  await conversation.run(limitMs);
  const { world } = conversation;
  const { toAgent, toHost } = world.traffic;
  return {
    cables: world.cables,
    resumptions: world.agent.resumptions,
    faults,
    ms: world.clock.now(),
    toAgent,
    toHost,
  };
}
