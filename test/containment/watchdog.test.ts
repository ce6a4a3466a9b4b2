import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import {
  bearersOf,
  escape,
  eventually,
  extinct,
  isAlive,
  newToken,
  Transcript,
  watchdogStarted,
} from './world.js';

const pathOf = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));

interface LittleAgent {
  readonly child: ChildProcess;
  /** The word that the processes bear which end with the agent, and the one of those that do not. */
  readonly goes: string;
  readonly stays: string;
}

/** An agent in little whose choices of a range of marks are the ones given. */
async function startAgent(random: number): Promise<LittleAgent> {
  const [goes, stays] = [newToken(), newToken()];
  const child = spawn(
    process.execPath,
    [
      '--import',
      pathOf('tooling/typescript.mjs'),
      '--conditions=@hawser/source',
      pathOf('agentd/test/fixtures/two-trees.ts'),
    ],
    {
      env: { ...process.env, MODE: 'walk', ESCAPE: escape, STAYS: stays, GOES: goes, RANDOM: String(random) },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  await new Transcript(child.stdout).until('ready');
  return { child, goes, stays };
}

async function kill({ child }: LittleAgent): Promise<void> {
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

t.test('an agent that is killed takes nothing of another one along that has the same marks', async (t) => {
  const dies = await startAgent(0.5);
  const lives = await startAgent(0.5);
  const watchdog = await watchdogStarted(dies.child.pid as number);
  t.strictSame(rangeOf(watchdog), rangeOf(await watchdogStarted(lives.child.pid as number)));
  await kill(dies);
  await extinct(dies.goes);
  await eventually(() => !isAlive(watchdog));
  t.equal(bearersOf(lives.goes).length, 2, 'its leader, and its orphan that has nothing but the mark');
  await kill(lives);
  await extinct(lives.goes);
  for (const { stays } of [dies, lives]) await killAll(stays);
});

t.test('two that are killed at once take along all that is theirs', async (t) => {
  const agents = [await startAgent(0.5), await startAgent(0.5)];
  for (const { child } of agents) await watchdogStarted(child.pid as number);
  await Promise.all(agents.map(kill));
  for (const { goes } of agents) await extinct(goes);
  for (const { stays } of agents) {
    t.equal(bearersOf(stays).length, 2);
    await killAll(stays);
  }
});

/** The marks that a watchdog looks for. */
function rangeOf(watchdog: number): string[] {
  return readFileSync(`/proc/${watchdog}/cmdline`, 'latin1').split('\0').slice(3, 5);
}

async function killAll(token: string): Promise<void> {
  for (const pid of bearersOf(token)) process.kill(pid, 'SIGKILL');
  await extinct(token);
}
