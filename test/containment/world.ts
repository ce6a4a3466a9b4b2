import { readdirSync, readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import type { Agent } from '@hawser/host-client';
import t, { type Test } from 'tap';
import { compile, eventually, isAlive } from '../semantics/lines.js';
import { type RunningAgent, type StartOptions, startAgent } from '../support/agentd.js';

export { eventually, folder, isAlive, Transcript } from '../semantics/lines.js';

export type Mode = 'cgroup' | 'walk';

/** What a suite works with: an agent that contains in one way, and a host connected to it. */
export interface World {
  readonly mode: Mode;
  readonly agentd: RunningAgent;
  readonly agent: Agent;
}

/** Whether this machine lets us make cgroups: the same question as the agent's, asked of another source. */
export function hasCgroups(): boolean {
  return cgroupMount() !== undefined && userInfo().uid === 0;
}

/** Where cgroup v2 is mounted. */
export function cgroupMount(): string | undefined {
  const mounts = readFileSync('/proc/mounts', 'utf8').split('\n');
  return mounts.map((line) => line.split(' ')).find(([, , type]) => type === 'cgroup2')?.[1];
}

export function modes(): Mode[] {
  if (hasCgroups()) return ['cgroup', 'walk'];
  t.comment('there is no cgroup v2 that a cgroup can be made in: the walk alone is tried here');
  return ['walk'];
}

/** Runs a suite once with cgroups and once with the walk. */
export function overEachMode(
  suite: (t: Test, world: World) => Promise<void>,
  options: StartOptions = {},
): void {
  for (const mode of modes()) {
    t.test(`contained by ${mode}`, async (t) => {
      await using agentd = await startAgent({
        ...options,
        args: ['--containment', mode, '--reap-orphans', ...(options.args ?? [])],
      });
      await using agent = await agentd.connect();
      await suite(t, { mode, agentd, agent });
    });
  }
}

export const escape = compile('escape');

let tokens = 0;

/** A word that no other process of this machine has in its command line. */
export function newToken(): string {
  return `token-${process.pid}-${++tokens}-${Date.now()}`;
}

/** The living processes that have the word in their command line: found without anything of Hawser's. */
export function bearersOf(token: string): number[] {
  const found: number[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (readFileSync(`/proc/${name}/cmdline`, 'latin1').includes(token) && isAlive(Number(name)))
        found.push(Number(name));
    } catch {
      // It has ended.
    }
  }
  return found.sort((a, b) => a - b);
}

/** Resolves when no process bears the word. */
export async function extinct(token: string): Promise<void> {
  await eventually(() => bearersOf(token).length === 0);
}

/** Zombies whose parent is this process. */
export function zombiesOf(parent: number): number[] {
  const found: number[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      const [state, ppid] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (state === 'Z' && Number(ppid) === parent) found.push(Number(name));
    } catch {
      // It has ended.
    }
  }
  return found;
}

/** The agent's watchdog, from /proc: a child of its own, by name. */
export function watchdogOf(agent: number): number | undefined {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      if (
        stat.includes('(hawser-watchdog)') &&
        stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] === String(agent)
      )
        return Number(name);
    } catch {
      // It has ended.
    }
  }
  return undefined;
}

/** It is launched with the first session, and bears its name when it is executed. */
export async function watchdogStarted(agent: number): Promise<number> {
  let watchdog: number | undefined;
  await eventually(() => (watchdog = watchdogOf(agent)) !== undefined);
  return watchdog as unknown as number;
}
