import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import t from 'tap';
import { compile, digest, GiB, localProgram, MiB } from '../load/world.js';
import { startAgent } from '../support/agentd.js';
import { noisyCable } from '../support/noisy-cable.js';

const program = compile(t, 'load-pattern');
const root = fileURLToPath(new URL('../../', import.meta.url));

/** A host process of its own, see `test/fixtures/session-host.ts`. */
function host(
  t: Test,
  ...args: readonly string[]
): { child: ChildProcess; said: (text: RegExp) => Promise<string> } {
  const flags = ['--conditions=@hawser/source', '--import=./tooling/typescript.mjs'];
  const child = spawn(process.execPath, [...flags, 'test/fixtures/session-host.ts', ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  let text = '';
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  const said = async (pattern: RegExp): Promise<string> => {
    for (;;) {
      const match = pattern.exec(text);
      if (match !== null) return match[1] ?? match[0];
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`the host ended: ${text}`);
      await Promise.race([once(child.stderr as NodeJS.ReadableStream, 'data'), once(child, 'close')]);
    }
  };
  return { child, said };
}

/** Reads an output of `bytes` through one host process after the other, each killed on the way but the last. */
async function readThroughKills(t: Test, line: string, bytes: number, kills: number): Promise<string> {
  const hash = createHash('sha256');
  let collected = 0;
  let id = '-';
  for (let turn = 0; turn <= kills; turn++) {
    const what = turn === 0 ? 'start-output' : 'attach-output';
    const { child, said } = host(t, line, what, id, String(collected), program, 'stream', '4', String(bytes));
    const until = (bytes / (kills + 1)) * (turn + 1);
    for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
      hash.update(chunk);
      collected += chunk.length;
      if (turn < kills && collected > until) child.kill('SIGKILL');
    }
    if (turn === kills) {
      const exit = JSON.parse(await said(/exit (\{.*\})/)) as { stdout: object };
      t.match(exit.stdout, { bytes, dropped: 0 });
    }
    id = await said(/session (\S+)/);
    await t.rejects(said(/gap/), 'nothing was dropped');
    if (turn < kills) t.ok(collected < bytes, `killed after ${collected} bytes`);
  }
  t.equal(collected, bytes);
  return hash.digest('hex');
}

/** Writes an input of `bytes` through one host process after the other. @returns what the command made of it. */
async function writeThroughKills(
  t: Test,
  line: string,
  bytes: number,
  kills: number,
  takenBytes: (id: string) => Promise<number>,
): Promise<string> {
  let id = '-';
  for (let turn = 0; turn <= kills; turn++) {
    const what = turn === 0 ? 'start-input' : 'attach-input';
    const { child, said } = host(t, line, what, id, String(bytes), 'sha256sum');
    const ended = once(child, 'close');
    id = await said(/session (\S+)/);
    const from = Number(await said(/from (\d+)/));
    t.ok(turn === 0 ? from === 0 : from > 0 && from < bytes, `goes on at byte ${from}`);
    if (turn < kills) {
      const until = (bytes / (kills + 1)) * (turn + 1);
      while ((await takenBytes(id)) < until) await new Promise((resolve) => setTimeout(resolve, 20));
      child.kill('SIGKILL');
    }
    await ended;
  }
  const { child } = host(t, line, 'result', id, '0');
  let result = '';
  for await (const chunk of child.stdout as AsyncIterable<Buffer>) result += String(chunk);
  return result.slice(0, 64);
}

function inputDigest(bytes: number): string {
  const hash = createHash('sha256');
  const block = Buffer.alloc(65_536, 'the quick brown fox jumps over the lazy dog ');
  for (let at = 0; at < bytes; at += block.length) {
    block.writeUInt32BE(at / block.length, 0);
    hash.update(block.subarray(0, Math.min(block.length, bytes - at)));
  }
  return hash.digest('hex');
}

t.test('a host that is killed with SIGKILL in the middle of 1 GiB, and another that goes on', async (t) => {
  await using running = await startAgent();
  const local = digest(localProgram(t, program, ['stream', '4', String(GiB)]).stdout);
  t.equal(await readThroughKills(t, running.line, GiB, 2), (await local).sha256, 'output');
  // Another host sees how far the command is.
  await using watcher = await running.connect();
  const takenBytes = async (): Promise<number> => {
    const { lines } = await watcher.info();
    return Math.max(...lines.map(({ bytesIn }) => bytesIn));
  };
  t.equal(await writeThroughKills(t, running.line, GiB, 1, takenBytes), inputDigest(GiB), 'input');
});

t.test('the same over a serial line with a flipped bit in every 100 kB', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'hawser-noise-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const bytes = 4 * MiB;
  await using cable = await noisyCable(folder, 100_000, 1);
  await using running = await startAgent({ cable });
  const local = digest(localProgram(t, program, ['stream', '4', String(bytes)]).stdout);
  const started = performance.now();
  t.equal(await readThroughKills(t, running.line, bytes, 1), (await local).sha256, 'output');
  const seconds = (performance.now() - started) / 1000;
  t.comment(
    `${(bytes / 1e6 / seconds).toFixed(2)} MB/s, ${cable.flips()} flips in ${cable.carriedBytes()} bytes`,
  );
  const before = cable.carriedBytes();
  const taken = async (): Promise<number> => cable.carriedBytes() - before;
  t.equal(await writeThroughKills(t, running.line, bytes, 1, taken), inputDigest(bytes), 'input');
  t.ok(cable.flips() > 20, `${cable.flips()} bits were flipped`);
});
