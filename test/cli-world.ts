import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = resolve(fileURLToPath(import.meta.url), '../..');
const fromSource = ['--import', join(root, 'tooling/typescript.mjs'), '--conditions=@hawser/source'];
const waitMs = 20_000;

/** Tries again until it is not undefined; fails with what `describe` says. */
export async function until<T>(attempt: () => T | undefined, describe: () => string): Promise<T> {
  const deadline = Date.now() + waitMs;
  for (;;) {
    const value = attempt();
    if (value !== undefined) return value;
    if (Date.now() > deadline) throw new Error(`not within ${waitMs} ms: ${describe()}`);
    await delay(20);
  }
}

/** There is a process of that pid, though it may only wait to be waited for. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** A running `hawser`; what it prints is collected. */
export class Hawser {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
  readonly #stdout: Buffer[] = [];
  readonly #stderr: Buffer[] = [];

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdout?.on('data', (chunk: Buffer) => this.#stdout.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => this.#stderr.push(chunk));
    this.finished = once(child, 'close').then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
      stdout: Buffer.concat(this.#stdout),
      stderr: this.stderr,
    }));
  }

  /** What it has written to standard error until now. */
  get stderr(): string {
    return Buffer.concat(this.#stderr).toString();
  }

  /** When the output so far matches. */
  printed(pattern: RegExp): Promise<true> {
    const text = () => Buffer.concat(this.#stdout).toString();
    return until(
      () => (pattern.test(text()) ? true : undefined),
      () => `${pattern} in ${JSON.stringify(text())}, stderr ${this.stderr}`,
    );
  }
}

/** An agent on a Unix socket, and the program `hawser` to drive it with. Everything ends with `close()`. */
export class World {
  readonly dir = mkdtempSync(join(tmpdir(), 'hawser-cli-'));
  /** An executable that runs the command line program. */
  readonly hawserPath: string;
  readonly line: string;
  #agent: ChildProcess | undefined;

  /** @param built as `npm run build` made it, which starts in half the time; else from source */
  constructor({ built = false } = {}) {
    const bin = join(this.dir, 'bin');
    mkdirSync(bin);
    this.hawserPath = join(bin, 'hawser');
    const main = built
      ? [join(root, 'host-client/bin/hawser.js')]
      : [...fromSource, join(root, 'host-client/src/cli/main.ts')];
    const words = [process.execPath, ...main].map((word) => `'${word}'`).join(' ');
    writeFileSync(this.hawserPath, `#!/bin/sh\nexec ${words} "$@"\n`);
    chmodSync(this.hawserPath, 0o755);
    this.line = `unix:${join(this.dir, 'agent.sock')}`;
  }

  async startAgent(...args: string[]): Promise<void> {
    const main = join(root, 'agentd/src/main.ts');
    const agent = spawn(
      process.execPath,
      [...fromSource, main, '--listen', this.line, '--log-level', 'error', ...args],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
    this.#agent = agent;
    await until(
      () => (existsSync(join(this.dir, 'agent.sock')) ? true : undefined),
      () => `the agent's socket (its exit code: ${agent.exitCode})`,
    );
  }

  async stopAgent(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const agent = this.#agent;
    this.#agent = undefined;
    if (agent === undefined || agent.exitCode !== null || agent.signalCode !== null) return;
    const gone = once(agent, 'exit');
    agent.kill(signal);
    await gone;
    rmSync(join(this.dir, 'agent.sock'), { force: true });
  }

  get env(): NodeJS.ProcessEnv {
    return {
      PATH: `${join(this.dir, 'bin')}:${process.env.PATH}`,
      HOME: this.dir,
      // A shell that is hung up writes its history: into a folder that is being removed.
      HISTFILE: '',
      LANG: 'C.UTF-8',
      HAWSER_LINE: this.line,
    };
  }

  /** Starts `hawser` with HAWSER_LINE set. */
  start(args: readonly string[], env: NodeJS.ProcessEnv = {}): Hawser {
    return new Hawser(
      spawn(this.hawserPath, args, {
        env: { ...this.env, ...env },
        stdio: ['pipe', 'pipe', 'pipe'],
        cwd: this.dir,
      }),
    );
  }

  /** Runs `hawser` to its end. */
  run(
    args: readonly string[],
    options: { input?: string | Uint8Array; env?: NodeJS.ProcessEnv } = {},
  ): Promise<Finished> {
    const hawser = this.start(args, options.env);
    hawser.child.stdin?.on('error', () => undefined); // it may end without reading
    hawser.child.stdin?.end(options.input ?? '');
    return hawser.finished;
  }

  /** Runs a line of shell script that calls `hawser`. */
  shell(script: string): Promise<Finished> {
    return new Hawser(
      spawn('bash', ['-c', script], { env: this.env, stdio: ['ignore', 'pipe', 'pipe'], cwd: this.dir }),
    ).finished;
  }

  /** What a command in the guest, which is this machine, has written to that file, when it ends with a line's end. */
  written(name: string): Promise<string> {
    const path = join(this.dir, name);
    return until(
      () =>
        existsSync(path) && readFileSync(path, 'utf8').endsWith('\n')
          ? readFileSync(path, 'utf8')
          : undefined,
      () => `a line in ${name}`,
    );
  }

  async close(): Promise<void> {
    await this.stopAgent();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

let terminals = 0;

/** A real terminal of tmux, with a shell in it whose prompt is `shell> `. */
export class Terminal {
  readonly #socket = `hawser-test-${process.pid}-${(terminals += 1)}`;

  constructor(world: World, { cols, rows }: { cols: number; rows: number } = { cols: 80, rows: 24 }) {
    this.#tmux(
      [
        '-f',
        '/dev/null',
        'new-session',
        '-d',
        '-x',
        `${cols}`,
        '-y',
        `${rows}`,
        "PS1='shell> ' exec bash --noprofile --norc",
      ],
      { ...world.env, cwd: world.dir },
    );
    this.#tmux(['set-option', '-g', 'status', 'off']);
    this.#tmux(['set-option', '-g', 'window-size', 'manual']);
    this.resize(cols, rows);
  }

  /** Types text, and then keys by tmux's names, such as `Enter` or `C-c`. */
  type(text: string, ...keys: string[]): void {
    if (text !== '') this.#tmux(['send-keys', '-l', text]);
    if (keys.length > 0) this.#tmux(['send-keys', ...keys]);
  }

  /** Types bytes as they are. */
  bytes(values: readonly number[]): void {
    this.#tmux(['send-keys', '-H', ...values.map((value) => value.toString(16))]);
  }

  /** Takes the terminal away from under what runs in it. */
  hangUp(): void {
    this.#tmux(['kill-pane']);
  }

  resize(cols: number, rows: number): void {
    this.#tmux(['resize-window', '-x', `${cols}`, '-y', `${rows}`]);
  }

  screen(): string {
    return this.#tmux(['capture-pane', '-p', '-J']);
  }

  get showsCursor(): boolean {
    return this.#tmux(['display-message', '-p', '#{cursor_flag}']).trim() === '1';
  }

  /** When the screen shows it. */
  shows(pattern: RegExp): Promise<RegExpExecArray> {
    return until(
      () => pattern.exec(this.screen()) ?? undefined,
      () => `${pattern} on the screen:\n${this.screen()}`,
    );
  }

  close(): void {
    // The server ends by itself when its last pane does.
    spawnSync('tmux', ['-L', this.#socket, 'kill-server'], { stdio: 'ignore' });
  }

  #tmux(args: readonly string[], env: NodeJS.ProcessEnv = process.env): string {
    const { cwd, ...rest } = env;
    const { status, stdout, stderr } = spawnSync('tmux', ['-L', this.#socket, ...args], {
      encoding: 'utf8',
      env: { ...rest, TMUX: undefined },
      cwd,
    });
    if (status !== 0) throw new Error(`tmux ${args.join(' ')}: ${stderr}`);
    return stdout;
  }
}
