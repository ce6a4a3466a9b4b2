// `npm run test:soak [-- --minutes 60]`: mixed load on a real agent over a line that is cut now and then, and then the agent
// must be as it was: its private memory, its descriptors, its processes. Two minutes unless told otherwise.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { connect } from '@hawser/host-client';
import { descendantsOf, descriptorsOf, privateDirtyKiB, until } from '../load/world.js';
import { startAgent } from '../support/agentd.js';
import { CuttableProxy } from '../support/cuttable-proxy.js';

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '2' } } });
const durationMs = Number(values.minutes) * 60_000;
const KiB = 1024;
/** What the collector has not looked at; a leak of 1 KiB a session would be more after some minutes. */
const slackKiB = 4 * KiB;

await using running = await startAgent({ env: { NODE_OPTIONS: '--max-semi-space-size=1' } });
await using proxy = await CuttableProxy.listen(join(running.folder, 'soak.sock'), running.line.slice(5));
const agent = await connect(proxy.line);
const input = Buffer.alloc(300 * KiB, 'soak');
const digest = createHash('sha256').update(input).digest('hex');
let rounds = 0;
let commands = 0;

function assert(isSo: boolean, what: string): void {
  if (!isSo) throw new Error(what);
}

const kinds: readonly (() => Promise<unknown>)[] = [
  async () => assert((await agent.exec('echo', ['x'])).stdout === 'x\n', 'echo'),
  async () =>
    assert((await agent.exec('sh', ['-c', 'echo x; exit 3'], { tty: true })).code === 3, 'terminal'),
  async () => assert((await agent.exec('sha256sum', [], { input })).stdout.startsWith(digest), 'input'),
  async () =>
    assert((await agent.exec('cat', [], { input, encoding: 'buffer' })).stdout.equals(input), 'cat'),
  async () =>
    agent.exec('/nowhere').then(
      () => assert(false, 'a command that is not there ran'),
      () => {},
    ),
  async () => assert((await agent.exec('sleep', ['9'], { timeoutMs: 1_000 })).timedOut, 'timeout'),
  async () => {
    const session = await agent.spawn('cat', [], { detached: true });
    session.stdin?.write('kept');
    await once(session.stdout, 'data');
    await session.detach();
    const again = await agent.attach(session.id, { stdin: true, from: 'start' });
    again.stdin?.end();
    let text = '';
    for await (const chunk of again.stdout as AsyncIterable<Buffer>) text += String(chunk);
    assert(text === 'kept', `a detached session wrote ${text}`);
  },
  async () => {
    await using other = await running.connect();
    assert((await other.exec('true')).code === 0, 'another host');
  },
];

async function round(): Promise<void> {
  rounds++;
  commands += 2 * kinds.length;
  if (rounds % 5 === 0) proxy.cutAfter(1 + ((rounds * 7919) % 600_000));
  await Promise.all([...kinds, ...kinds].map((one) => one()));
}

/** Of the agent at rest. */
async function sample(): Promise<{
  dirtyKiB: number;
  descriptors: number;
  processes: number;
  spools: number;
}> {
  let last = '';
  await until('the agent to rest', async () => {
    const info = await agent.info();
    last = JSON.stringify([
      info.sessionsRunning,
      info.lines.map(({ name }) => name),
      descendantsOf(running.pid),
    ]);
    // One process may be a helper of the agent's own, that stays.
    return info.sessionsRunning === 0 && info.lines.length === 1 && descendantsOf(running.pid).length <= 1;
  }).catch((error: Error) => {
    throw new Error(`${error.message}: ${last}`, { cause: error });
  });
  return {
    dirtyKiB: privateDirtyKiB(running.pid),
    descriptors: descriptorsOf(running.pid),
    processes: descendantsOf(running.pid).length,
    spools: (await agent.info()).spoolBytes,
  };
}

const started = performance.now();
const samples: Awaited<ReturnType<typeof sample>>[] = [];
for (let next = 0; performance.now() - started < durationMs; ) {
  await round();
  const at = performance.now() - started;
  if (at < next) continue;
  next = at + durationMs / 30;
  samples.push(await sample());
}
await agent.close();

// The first third warms up: code is loaded and compiled, buffers reach their size.
const third = Math.floor(samples.length / 3);
const [warm, end] = [samples.slice(third, 2 * third), samples.slice(2 * third)];
const most = (part: typeof samples, name: keyof (typeof samples)[0]): number =>
  Math.max(...part.map((one) => one[name]));
for (const name of ['dirtyKiB', 'descriptors', 'processes', 'spools'] as const)
  console.log(`${name}: ${samples.map((one) => one[name]).join(' ')}`);
console.log(`${commands} commands in ${values.minutes} minutes, ${proxy.connections} lines`);
assert(samples.length >= 6, `only ${samples.length} samples`);
assert(
  most(end, 'dirtyKiB') <= most(warm, 'dirtyKiB') + slackKiB,
  `private memory grew from ${most(warm, 'dirtyKiB')} to ${most(end, 'dirtyKiB')} KiB`,
);
assert(most(end, 'descriptors') <= most(warm, 'descriptors'), 'descriptors grew');
assert(most(end, 'processes') <= most(warm, 'processes'), 'processes are left');
// Ended detached sessions are kept, 256 of them at most, each with its smallest pieces.
assert(most(end, 'spools') <= 256 * 16 * KiB, 'spools are left');
console.log('flat');
