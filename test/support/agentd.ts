import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Agent, ConnectOptions } from '@hawser/host-client';
import { connect } from '@hawser/host-client';

/** The agent as it is shipped: `npm run build` makes it, and `npm test` begins with that. */
const program = fileURLToPath(new URL('../../agentd/dist/hawser-agentd.cjs', import.meta.url));
const nodeFlags = createRequire(import.meta.url)('../../agentd/node-flags.json') as string[];

export type LineUnderTest = 'unix' | 'pty';

export interface RunningAgent extends AsyncDisposable {
  readonly pid: number;
  readonly child: ChildProcess;
  /** The line for `connect`. A pty is one line: connect again only when the first connection is closed. */
  readonly line: string;
  /** A private folder, removed at the end. */
  readonly folder: string;
  /** What the agent wrote to its stderr so far. */
  readonly log: () => string;
  connect(options?: ConnectOptions): Promise<Agent>;
}

export interface StartOptions {
  readonly line?: LineUnderTest;
  /** A serial cable of the caller's, in place of a line of our own. */
  readonly cable?: { readonly agentEnd: string; readonly hostEnd: string };
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts an agentd of its own process, on a Unix socket or at one end of a pty pair (socat's). */
export async function startAgent(options: StartOptions = {}): Promise<RunningAgent> {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-test-'));
  const pty = options.line === 'pty' ? await openPtyPair(folder) : undefined;
  const socket = join(folder, 'agent.sock');
  const ends = pty ?? options.cable;
  const listen = ends === undefined ? `unix:${socket}` : `uart:${ends.agentEnd}`;
  const child = spawn(
    process.execPath,
    [...nodeFlags, program, '--listen', listen, ...(options.args ?? [])],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: process.env['PATH'] ?? '', ...options.env },
    },
  );
  let log = '';
  const ready = new Promise<void>((resolve, reject) => {
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      log += text;
      if (log.includes('"msg":"ready"')) resolve();
    });
    child.once('exit', (code, signal) => reject(new Error(`agentd ended (${code ?? signal}): ${log}`)));
  });
  await ready;
  const line = ends === undefined ? `unix:${socket}` : `uart:${ends.hostEnd}`;
  return {
    pid: child.pid as number,
    child,
    line,
    folder,
    log: () => log,
    connect: (connectOptions) => connect(line, connectOptions),
    async [Symbol.asyncDispose]() {
      await stop(child);
      if (pty !== undefined) await stop(pty.socat);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Ends a child of ours, at first kindly. */
export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 15_000);
  await exited;
  clearTimeout(timer);
}

interface PtyPair {
  readonly socat: ChildProcess;
  readonly agentEnd: string;
  readonly hostEnd: string;
}

/** Two ptys, each the other's far end: a serial cable. */
async function openPtyPair(folder: string): Promise<PtyPair> {
  const agentEnd = join(folder, 'agent.tty');
  const hostEnd = join(folder, 'host.tty');
  const address = (path: string): string => `pty,raw,echo=0,link=${path}`;
  const socat = spawn('socat', ['-d', '-d', address(agentEnd), address(hostEnd)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  await new Promise<void>((resolve, reject) => {
    let text = '';
    socat.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      if (text.includes('starting data transfer loop')) resolve();
    });
    socat.once('error', reject);
    socat.once('exit', () => reject(new Error(`socat ended: ${text}`)));
  });
  return { socat, agentEnd, hostEnd };
}
