import type { ChildProcessByStdio } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import type { Line } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import type { OpenContext } from './connect-line.js';
import type { LineOwner } from './duplex-line.js';
import { DuplexLine } from './duplex-line.js';

/** What a message may quote of the command's stderr, from its end. */
const stderrTailBytes = 2048;
/** From the end of its stdin to SIGTERM, and from there to SIGKILL. */
const graceMs = 1000;
/** What the command's stderr still holds is read for so long after its exit. */
const stderrDrainMs = 100;

/**
 * `exec:COMMAND`: a command of `/bin/sh` whose stdin and stdout are the line.
 *
 * It gets a session of its own, so that a terminal's Ctrl-C goes to the guest and not to it, and so
 * that whatever it starts ends with it.
 */
export async function openExec(command: string, { spec, signal, onStderr }: OpenContext): Promise<Line> {
  if (command.trim() === '')
    throw new HawserError('invalid_argument', `${spec} names no command: exec:COMMAND`);
  const child = spawn('/bin/sh', ['-c', command], { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  const owner = new ChildOwner(child, spec, onStderr ?? ((chunk) => void process.stderr.write(chunk)));
  const line = new DuplexLine(
    { readable: child.stdout, writable: child.stdin },
    { kind: 'pipe', name: spec, dataBytesPreferred: 64 * 1024, owner },
  );
  try {
    await once(child, 'spawn', { signal });
    return line;
  } catch (error) {
    line.close();
    throw signal.aborted ? signal.reason : error;
  }
}

type Child = ChildProcessByStdio<Writable, Readable, Readable>;

/** Ends the command with the line, and knows why the command ended the line. */
class ChildOwner implements LineOwner {
  readonly #child: Child;
  readonly #spec: string;
  readonly #exit: Promise<void>;
  #stderrTail: Buffer = Buffer.alloc(0);

  constructor(child: Child, spec: string, onStderr: (chunk: Uint8Array) => void) {
    this.#child = child;
    this.#spec = spec;
    // 'error' is a shell that could not be started; `openExec` hears of it from `once`.
    this.#exit = new Promise((resolve) => child.once('exit', () => resolve()).once('error', () => resolve()));
    child.stderr.on('data', (chunk: Buffer) => {
      this.#stderrTail = Buffer.concat([this.#stderrTail, chunk]).subarray(-stderrTailBytes);
      onStderr(chunk);
    });
  }

  /** The line has closed the command's stdin. */
  release(): void {
    if (this.#over()) {
      this.#signalGroup('SIGTERM');
      return;
    }
    const timers = [
      setTimeout(() => this.#signalGroup('SIGTERM'), graceMs),
      setTimeout(() => this.#signalGroup('SIGKILL'), 2 * graceMs),
    ];
    this.#child.once('exit', () => {
      for (const timer of timers) clearTimeout(timer);
      // What the command left behind in its group; nobody else's, unless its number were given out anew at once.
      this.#signalGroup('SIGTERM');
    });
  }

  async reason(): Promise<HawserError> {
    await this.#exit;
    const { exitCode, signalCode, stderr } = this.#child;
    if (!stderr.closed)
      await once(stderr, 'close', { signal: AbortSignal.timeout(stderrDrainMs) }).catch(() => undefined);
    const how = signalCode === null ? `exited with code ${exitCode}` : `was killed by ${signalCode}`;
    const said = this.#stderrTail.toString('utf8').trim();
    return new HawserError('line_closed', `${this.#spec} ${how}${said === '' ? '' : `: ${said}`}`);
  }

  #over(): boolean {
    const { pid, exitCode, signalCode } = this.#child;
    return pid === undefined || exitCode !== null || signalCode !== null;
  }

  #signalGroup(name: NodeJS.Signals): void {
    if (this.#child.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, name);
    } catch (error) {
      // ESRCH: nobody is left, which is what was wanted.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}
