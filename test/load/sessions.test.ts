import { createHash } from 'node:crypto';
import type { Agent } from '@hawser/host-client';
import type { Test } from 'tap';
import t from 'tap';
import { type LineUnderTest, type RunningAgent, startAgent } from '../support/agentd.js';
import {
  compile,
  descendantsOf,
  descriptorsOf,
  digest,
  each,
  KiB,
  MiB,
  numbers,
  privateDirtyKiB,
  settled,
  threadsOf,
  until,
} from './world.js';

const program = compile(t, 'load-pattern');

const sizes: Record<LineUnderTest, { atOnce: number; bytes: number; inARow: number }> = {
  unix: { atOnce: 200, bytes: 2 * MiB, inARow: 5_000 },
  pty: { atOnce: 100, bytes: 128 * KiB, inARow: 500 },
};

for (const line of ['unix', 'pty'] as const) {
  const size = sizes[line];
  t.test(`sessions over ${line}`, async (t) => {
    // A small young generation, so that what its collector has not looked at hides no leak.
    await using running = await startAgent({ line, env: { NODE_OPTIONS: '--max-semi-space-size=1' } });
    await using agent = await running.connect();

    await t.test(`${size.atOnce} at once, of mixed kinds`, async (t) => {
      await mixed(t, agent, 48, size.bytes); // loads what is loaded once, and fills the agent's pool of cgroups
      const before = await resourcesAtRest(running);
      await mixed(t, agent, size.atOnce, size.bytes);
      t.same(await resourcesAfter(running, before), before);
      await until('aborted output to be gone', async () => (await agent.info()).spoolBytes === 0);
      t.match(await agent.info(), { sessionsRunning: 0, launchesPending: 0 });
    });

    await t.test(`${size.inARow} in a row leave nothing behind`, async (t) => {
      const one = async (i: number): Promise<void> => {
        if (i % 5 === 0) await t.rejects(agent.exec('/nowhere/to/be/found'), { code: 'not_found' });
        else if (i % 5 === 1) await agent.exec('echo', [String(i)], { tty: true });
        else if (i % 5 === 2) await agent.exec('cat', [], { input: 'in' });
        else if ((await agent.exec('echo', [String(i)])).stdout !== `${i}\n`) t.fail(`session ${i}`);
      };
      for (const i of numbers(Math.min(1_000, size.inARow / 2))) await one(i);
      const before = await resourcesAtRest(running);
      const agentKiB = privateDirtyKiB(running.pid);
      const hostKiB = privateDirtyKiB(process.pid);
      for (const i of numbers(size.inARow)) await one(i);
      t.same(await resourcesAfter(running, before), before);
      // What the collectors have not looked at yet; a leak of 4 KiB a session would be 20 MiB.
      const agentGrown = privateDirtyKiB(running.pid) - agentKiB;
      const hostGrown = privateDirtyKiB(process.pid) - hostKiB;
      t.ok(agentGrown < 12 * KiB, `the agent grew by ${agentGrown} KiB`);
      t.ok(hostGrown < 48 * KiB, `the host grew by ${hostGrown} KiB`);
      t.match(await agent.info(), { sessionsRunning: 0, launchesPending: 0, spoolBytes: 0 });
    });
    t.notMatch(running.log(), /internal error/);
  });
}

interface Resources {
  agentDescriptors: number;
  agentThreads: number;
  agentProcesses: number;
  hostDescriptors: number;
  hostThreads: number;
}

function resources({ pid }: RunningAgent): Resources {
  return {
    agentDescriptors: descriptorsOf(pid),
    agentThreads: threadsOf(pid),
    agentProcesses: descendantsOf(pid).length,
    hostDescriptors: descriptorsOf(process.pid),
    hostThreads: threadsOf(process.pid),
  };
}

/** The last session's exit is told before its descriptors are closed, and before the next one's pipes are made. */
async function resourcesAtRest(running: RunningAgent): Promise<Resources> {
  await settled('descriptors', () => descriptorsOf(running.pid));
  return resources(running);
}

async function resourcesAfter(running: RunningAgent, before: Resources): Promise<Resources> {
  const same = (): boolean => JSON.stringify(resources(running)) === JSON.stringify(before);
  await until('resources as before', same, 5_000).catch(() => {});
  return resources(running);
}

async function mixed(t: Test, agent: Agent, count: number, bytes: number): Promise<void> {
  const input = Buffer.alloc(bytes, 'mixed');
  const inputDigest = createHash('sha256').update(input).digest('hex');
  const kinds: ((i: number) => Promise<unknown>)[] = [
    async (i) => t.equal((await agent.exec('echo', [String(i)])).stdout, `${i}\n`),
    async (i) =>
      t.equal((await agent.exec('sh', ['-c', `echo ${i}; exit 3`], { tty: true })).stdout, `${i}\r\n`),
    async () => {
      const session = await agent.spawn(program, ['stream', '4', String(bytes)], { stdin: 'null' });
      t.equal((await digest(session.stdout)).bytes, bytes);
      t.equal((await session.exited).code, 0);
    },
    async () => t.match((await agent.exec('sha256sum', [], { input })).stdout, inputDigest),
    async () => t.ok((await agent.exec('cat', [], { input, encoding: 'buffer' })).stdout.equals(input)),
    async () => t.rejects(agent.exec('/nowhere/to/be/found'), { code: 'not_found' }),
    async () => t.rejects(agent.exec('true', [], { cwd: '/nowhere' }), { code: 'cwd_not_found' }),
    async () =>
      t.match(await agent.exec('sleep', ['100'], { timeoutMs: 100 }), { timedOut: true, signal: 'SIGTERM' }),
    async () => {
      const session = await agent.spawn('sleep', ['100'], { tty: true });
      await session.resize({ rows: 10, cols: 20 });
      await session.signal('SIGINT');
      t.equal((await session.exited).signal, 'SIGINT');
    },
    async () => {
      const controller = new AbortController();
      const running = agent.exec(program, ['stream', '4', '10000000000'], { signal: controller.signal });
      await agent.ping();
      controller.abort();
      await t.rejects(running, { code: 'aborted' });
    },
  ];
  await each(numbers(count), count, (i) => (kinds[i % kinds.length] as (i: number) => Promise<unknown>)(i));
}
