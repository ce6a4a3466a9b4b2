// `npm run test:children [-- --children 100000] [-- --mode walk]`: so many short children inside sessions, every tenth with an
// orphan that the agent waits for. When they are gone its private memory is what it was after a fifth of them, and it has no
// zombies. In both ways of containment unless told otherwise.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Agent } from '@hawser/host-client';
import { descendantsOf, descriptorsOf, each, KiB, numbers, privateDirtyKiB, until } from '../load/world.js';
import { startAgent } from '../support/agentd.js';

const { values } = parseArgs({
  options: { children: { type: 'string', default: '100000' }, mode: { type: 'string' } },
});
const children = Number(values.children);
const modes = values.mode === undefined ? ['cgroup', 'walk'] : [values.mode];
const samples = 5;
const childrenOfSession = 1_000;
const sessionsAtOnce = 4;
/** What the collector has not looked at; 16 bytes for each child would be more. */
const slackKiB = 1 * KiB;
/** Of cgroups that serve the next session, as many as there were sessions at once. */
const pooledDescriptorsMax = 2 * sessionsAtOnce;
const source = fileURLToPath(new URL('../fixtures/many-children.c', import.meta.url));

function assert(isSo: boolean, what: string): void {
  if (!isSo) throw new Error(what);
}

async function runChildren(agent: Agent, program: string, count: number): Promise<void> {
  await each(numbers(count / childrenOfSession), sessionsAtOnce, async () => {
    const { code, stdout } = await agent.exec(program, [String(childrenOfSession)]);
    assert(code === 0 && stdout.startsWith(`${childrenOfSession} children`), `${code}: ${stdout}`);
  });
}

for (const mode of modes) {
  await using running = await startAgent({
    args: ['--containment', mode, '--reap-orphans'],
    env: { NODE_OPTIONS: '--max-semi-space-size=1' },
  });
  await using agent = await running.connect();
  const program = join(running.folder, 'many-children');
  execFileSync('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', program, source]);
  const dirtyKiB: number[] = [];
  const descriptors: number[] = [];
  const started = performance.now();
  for (let sample = 1; sample <= samples; sample++) {
    await runChildren(agent, program, children / samples);
    await until('every orphan to be waited for', () => descendantsOf(running.pid).length === 0);
    dirtyKiB.push(privateDirtyKiB(running.pid));
    descriptors.push(descriptorsOf(running.pid));
    console.log(`${mode}: ${(children / samples) * sample} children, ${dirtyKiB.at(-1)} KiB private`);
  }
  const seconds = (performance.now() - started) / 1000;
  console.log(`${mode}: ${children} children and ${children / 10} orphans in ${seconds.toFixed(0)} s`);
  assert(growth(dirtyKiB) <= slackKiB, `private memory grew by ${growth(dirtyKiB)} KiB`);
  assert(growth(descriptors) <= pooledDescriptorsMax, `descriptors: ${descriptors.join(' ')}`);
}
console.log('flat');

/** From the first sample to the last. */
function growth(numbersSeen: readonly number[]): number {
  return (numbersSeen.at(-1) ?? 0) - (numbersSeen[0] ?? 0);
}
