import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { HawserError } from '@hawser/protocol';
import type { ExecOptions } from '../options.js';
import type { ExitResult, Session } from './session.js';

/** How a command ended, and what it wrote. */
export interface ExecResult<Output extends string | Buffer = string> {
  /** Null where a signal ended it. */
  readonly code: number | null;
  /** The signal's name; null where it exited by itself. */
  readonly signal: string | null;
  readonly timedOut: boolean;
  readonly stdout: Output;
  /** Empty for a command in a terminal. */
  readonly stderr: Output;
  /** The whole exit record. */
  readonly exit: ExitResult;
}

const defaultMaxBufferBytes = 64 * 1024 * 1024;

/** Collects an output until the leader's last byte is there, whoever else may still be writing. */
class Collector {
  readonly chunks: Buffer[] = [];
  #bytes = 0;
  #until = Number.POSITIVE_INFINITY;
  readonly enough: Promise<void>;
  #resolve!: () => void;

  constructor(source: Readable | null, bytesMax: number, onExcess: () => void) {
    this.enough = new Promise((resolve) => (this.#resolve = resolve));
    source?.on('data', (chunk: Buffer) => {
      if (this.#bytes + chunk.length > bytesMax) onExcess();
      this.chunks.push(chunk.subarray(0, Math.max(0, bytesMax - this.#bytes)));
      this.#bytes += chunk.length;
      this.#check();
    });
    source?.on('error', () => this.#resolve());
    source?.on('end', () => this.#resolve());
    if (source === null) this.#resolve();
  }

  /** The leader wrote so many bytes. */
  expect(bytes: number): void {
    this.#until = bytes;
    this.#check();
  }

  /** Of more than that, descendants wrote the rest. */
  output(): Buffer {
    return Buffer.concat(this.chunks).subarray(0, this.#until);
  }

  #check(): void {
    if (this.#bytes >= this.#until) this.#resolve();
  }
}

/**
 * Feeds a session and collects what it writes.
 *
 * @throws HawserError `max_buffer` (with what was collected as `output`), `aborted`, and whatever ends the connection.
 */
export async function collect(session: Session, options: ExecOptions): Promise<ExecResult<string | Buffer>> {
  const bytesMax = options.maxBufferBytes ?? defaultMaxBufferBytes;
  let excess = false;
  const onExcess = (): void => {
    if (excess) return;
    excess = true;
    session.kill().catch(() => {});
  };
  const stdout = new Collector(session.stdout, bytesMax, onExcess);
  const stderr = new Collector(session.stderr, bytesMax, onExcess);
  feed(session, options.input);
  const exit = await session.exited;
  stdout.expect(exit.stdout.bytes);
  stderr.expect(exit.stderr.bytes);
  await stdout.enough;
  await stderr.enough;
  if (exit.outputComplete) await session.closed;
  else drop(session);
  const output = { stdout: stdout.output(), stderr: stderr.output() };
  if (options.signal?.aborted === true) throw aborted(options.signal);
  if (excess)
    throw new HawserError(
      'max_buffer',
      `the command wrote more than maxBufferBytes ${bytesMax} and was killed`,
      { output },
    );
  const { code, timedOut } = exit;
  const result = { code, signal: exit.signal, timedOut, exit };
  if (options.encoding === 'buffer') return { ...result, ...output };
  return { ...result, stdout: output.stdout.toString('utf8'), stderr: output.stderr.toString('utf8') };
}

export function aborted(signal: AbortSignal): HawserError {
  return new HawserError('aborted', 'the command was aborted', { cause: signal.reason });
}

function feed(session: Session, input: ExecOptions['input']): void {
  if (session.stdin === null || input === undefined) return;
  if (!(input instanceof Readable)) {
    session.stdin.end(input);
    return;
  }
  // A command that does not read to the end is no error; a source that fails ends what it feeds.
  pipeline(input, session.stdin).catch((error: unknown) => {
    if (!(error instanceof HawserError)) session.kill().catch(() => {});
  });
}

/** What descendants write from now on is nobody's. */
function drop(session: Session): void {
  session.stdout.destroy();
  session.stderr?.destroy();
  session.closed.catch(() => {});
}
