import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Agent } from '@hawser/host-client';
import t, { type Test } from 'tap';
import { type LineUnderTest, type RunningAgent, type StartOptions, startAgent } from '../support/agentd.js';

const linesUnderTest: readonly LineUnderTest[] = ['unix', 'pty'];

/** What a suite works with: one agent on one line, and a host connected to it. */
export interface World {
  readonly line: LineUnderTest;
  readonly agent: Agent;
  readonly agentd: RunningAgent;
}

/** Runs a suite once over a Unix socket and once over a serial line. */
export function overEachLine(
  suite: (t: Test, world: World) => Promise<void>,
  options: StartOptions = {},
): void {
  for (const line of linesUnderTest) {
    t.test(`over ${line}`, async (t) => {
      await using agentd = await startAgent({ ...options, line });
      await using agent = await agentd.connect();
      await suite(t, { line, agent, agentd });
    });
  }
}

/** A folder that every user may enter, removed at the end of the file. */
export const folder = mkdtempSync(join(tmpdir(), 'hawser-semantics-'));
chmodSync(folder, 0o755);
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const fixtures = fileURLToPath(new URL('../fixtures', import.meta.url));

/** Compiles test/fixtures/NAME.c. @returns the program's path. */
export function compile(name: string): string {
  const program = join(folder, name);
  execFileSync('cc', ['-Wall', '-Wextra', '-Werror', '-O1', '-o', program, join(fixtures, `${name}.c`)]);
  return program;
}

/** Reads an output as text, up to what is being waited for. */
export class Transcript {
  text = '';
  readonly #chunks: AsyncIterator<Buffer>;

  constructor(source: Readable) {
    this.#chunks = source[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  /** @returns the match, and forgets everything up to its end. Fails when the output ends before. */
  async until(pattern: RegExp | string): Promise<RegExpExecArray> {
    const expression =
      typeof pattern === 'string' ? new RegExp(pattern.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')) : pattern;
    for (;;) {
      const match = expression.exec(this.text);
      if (match !== null) {
        this.text = this.text.slice(match.index + match[0].length);
        return match;
      }
      const { done, value } = await this.#chunks.next();
      if (done === true) throw new Error(`the output ended before ${String(expression)}: ${this.text}`);
      this.text += value.toString('latin1');
    }
  }

  /** Everything that is left, to the end. */
  async rest(): Promise<string> {
    for (;;) {
      const { done, value } = await this.#chunks.next();
      if (done === true) return this.text;
      this.text += value.toString('latin1');
    }
  }
}

/** All bytes of an output. */
export async function readAll(source: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of source) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** The process is running: not gone, and not a zombie that its parent has yet to wait for. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}

/** The kernel tells nobody but the parent of a death: looked for until it is so. */
export async function gone(...pids: number[]): Promise<void> {
  await eventually(() => !pids.some(isAlive));
}

export async function eventually(condition: () => boolean): Promise<void> {
  while (!condition()) await pause(5);
}

/** What the process has open, as `NUMBER TARGET`. */
export function descriptorsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`);
}
