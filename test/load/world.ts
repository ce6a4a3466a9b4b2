import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;

/** Compiles `test/fixtures/NAME.c`. @returns the program's path, which goes with the test. */
export function compile(t: Test, name: string, flags: readonly string[] = []): string {
  const folder = mkdtempSync(join(tmpdir(), 'hawser-fixture-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const source = fileURLToPath(new URL(`../fixtures/${name}.c`, import.meta.url));
  const program = join(folder, name);
  execFileSync('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', program, source, ...flags]);
  return program;
}

/** A program on this side of the line, without Hawser. */
export function localProgram(
  t: Test,
  cmd: string,
  args: readonly string[],
): ChildProcess & { stdout: Readable } {
  const child = spawn(cmd, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  });
  return child;
}

/** SHA-256 of everything that comes, and how much it was. */
export async function digest(source: AsyncIterable<Uint8Array>): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of source) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { sha256: hash.digest('hex'), bytes };
}

/** Tries until it is so, and fails after `waitMs`: for what no event tells. */
export async function until(
  what: string,
  isSo: () => boolean | Promise<boolean>,
  waitMs = 30_000,
): Promise<void> {
  for (const deadline = Date.now() + waitMs; ; await delay(20)) {
    if (await isSo()) return;
    if (Date.now() > deadline) throw new Error(`not within ${waitMs} ms: ${what}`);
  }
}

/** Until the value has stayed the same for some looks in a row. @returns it. */
export async function settled(
  what: string,
  value: () => number | Promise<number>,
  looks = 15,
): Promise<number> {
  let last = await value();
  let same = 0;
  await until(`${what} to settle`, async () => {
    const now = await value();
    same = now === last ? same + 1 : 0;
    last = now;
    return same >= looks;
  });
  return last;
}

export async function each<T>(
  items: Iterable<T>,
  atOnce: number,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  const iterator = items[Symbol.iterator]();
  const worker = async (): Promise<void> => {
    for (let next = iterator.next(); next.done !== true; next = iterator.next()) await work(next.value);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

export const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

// What the kernel says of a process

export const descriptorsOf = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;
export const threadsOf = (pid: number): number => readdirSync(`/proc/${pid}/task`).length;

/** There and no zombie. */
export function isAlive(pid: number): boolean {
  if (!existsSync(`/proc/${pid}`)) return false;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !'ZX'.includes(stat[stat.lastIndexOf(')') + 2] ?? 'X');
  } catch {
    return false;
  }
}

/** Memory that is the process's own and written to. */
export function privateDirtyKiB(pid: number): number {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
  return Number(/^Private_Dirty:\s+(\d+) kB$/m.exec(rollup)?.[1]);
}

/** Every process below `pid`, its zombies included. */
export function descendantsOf(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      // The agent's own, which is there as long as the agent is.
      if (stat.includes('(hawser-watchdog)')) continue;
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
    } catch {
      // Gone meanwhile.
    }
  }
  const found: number[] = [];
  for (let layer = [pid]; layer.length > 0; ) {
    layer = [...parents].filter(([, parent]) => layer.includes(parent)).map(([child]) => child);
    found.push(...layer);
  }
  return found;
}
