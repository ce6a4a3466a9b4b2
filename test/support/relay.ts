import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Agent, connect } from '@hawser/host-client';
import t, { type Test } from 'tap';
import { type LineUnderTest, type RunningAgent, startAgent, stop } from './agentd.js';

/** The command line program as it is shipped: `npm run build` makes it, and `npm test` begins with that. */
export const hawserProgram = fileURLToPath(new URL('../../host-client/bin/hawser.js', import.meta.url));

/** Relays are looked for here, by this test and by the processes that it starts. */
export const runtimeFolder = mkdtempSync(join(tmpdir(), 'hawser-run-'));
process.env['XDG_RUNTIME_DIR'] = runtimeFolder;
t.teardown(() => rmSync(runtimeFolder, { recursive: true, force: true }));

export const MiB = 1024 * 1024;

export interface RelayProcess extends AsyncDisposable {
  readonly child: ChildProcess;
  /** What it has written to stderr so far. */
  readonly log: () => string;
  /** SIGKILL, and waits for its end. */
  kill(): Promise<void>;
}

/** Starts `hawser relay` as a process of its own. @returns when it listens. */
export async function startRelay(line: string, args: readonly string[] = []): Promise<RelayProcess> {
  const child = spawn(process.execPath, [hawserProgram, 'relay', line, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: process.env['PATH'] ?? '', XDG_RUNTIME_DIR: runtimeFolder },
  });
  let log = '';
  await new Promise<void>((resolve, reject) => {
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      log += text;
      if (log.includes('hawser: relaying ')) resolve();
    });
    child.once('exit', (code, signal) => reject(new Error(`the relay ended (${code ?? signal}): ${log}`)));
  });
  return {
    child,
    log: () => log,
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
      child.kill('SIGKILL');
      await gone;
    },
    [Symbol.asyncDispose]: () => stop(child),
  };
}

/** An agent, and a relay in front of it. */
export interface World extends AsyncDisposable {
  readonly agentd: RunningAgent;
  readonly line: string;
  relay: RelayProcess;
  /** SIGKILL to the relay, and another in its place. */
  restartRelay(): Promise<void>;
}

export async function behindRelay(line: LineUnderTest, args: readonly string[] = []): Promise<World> {
  const agentd = await startAgent({ line, args });
  const world: World = {
    agentd,
    line: agentd.line,
    relay: await startRelay(agentd.line),
    async restartRelay() {
      await world.relay.kill();
      world.relay = await startRelay(agentd.line);
    },
    async [Symbol.asyncDispose]() {
      await world.relay[Symbol.asyncDispose]();
      await agentd[Symbol.asyncDispose]();
    },
  };
  return world;
}

/** Connects through the relay, and makes sure of that. */
export async function client(t: Test, line: string): Promise<Agent> {
  const agent = await connect(line);
  t.match(agent.line, /\(relay unix:.*relay-[0-9a-f]{16}\.sock\)$/);
  return agent;
}

/** Text that is like no other client's, so that nothing that strays goes unnoticed. */
export function textOf(who: number, bytes: number): Buffer {
  return Buffer.alloc(bytes, `client ${who}, the quick brown fox\n`);
}

export function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Sends so many bytes through `cat` and takes them back. @returns the SHA-256 of what came. */
export async function roundTrip(
  agent: Agent,
  text: Buffer,
  onRead: (bytes: number) => void = () => {},
): Promise<string> {
  const session = await agent.spawn('cat');
  session.stderr?.resume();
  session.stdin?.end(text);
  const hash = createHash('sha256');
  for await (const chunk of session.stdout as AsyncIterable<Buffer>) {
    hash.update(chunk);
    onRead(chunk.length);
  }
  await session.closed;
  return hash.digest('hex');
}
