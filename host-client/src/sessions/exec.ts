import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { HawserError } from '@hawser/protocol';
import type { ExecOptions } from '../options.js';
import type { Command, ExitResult } from './command.js';
import type { CommandInput } from './command-input.js';
import { InputBuffer } from './input-buffer.js';
import { InputStream } from './input-stream.js';
import { OutputBuffer } from './output-buffer.js';

/** How a command ended, and what it wrote. */
export interface ExecResult<Output extends string | Buffer = string> {
  /** Null where a signal ended it; also, with `signal`, where the guest does not know how it ended. */
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

/** A command whose output is collected. */
export class Execution {
  readonly #options: ExecOptions;
  readonly #bytesMax: number;
  readonly #stdout: OutputBuffer;
  readonly #stderr: OutputBuffer;
  readonly command: Command;
  #excess = false;
  #inputError: Error | undefined;

  /** @param start sends the request. */
  constructor(options: ExecOptions, start: (input: CommandInput | null, outputs: OutputBuffer[]) => Command) {
    this.#options = options;
    this.#bytesMax = options.maxBufferBytes ?? defaultMaxBufferBytes;
    const onExcess = (): void => this.#kill();
    this.#stdout = new OutputBuffer(this.#bytesMax, onExcess);
    this.#stderr = new OutputBuffer(this.#bytesMax, onExcess);
    const terminal = options.tty !== undefined && options.tty !== false;
    const input = inputOf(options.input);
    this.command = start(input, terminal ? [this.#stdout] : [this.#stdout, this.#stderr]);
    if (options.input instanceof Readable) this.#feed(options.input, input as InputStream);
  }

  /**
   * How it ended and what it wrote, when every byte that the leader wrote is there.
   *
   * @throws HawserError `max_buffer` (with what was collected as `output`), `aborted` for an input that
   *   failed (its error is the `cause`), and whatever ends the connection.
   */
  async result(): Promise<ExecResult<string | Buffer>> {
    const { command } = this;
    const stdout = this.#stdout;
    const stderr = this.#stderr;
    let exit: ExitResult;
    try {
      exit = await command.exited;
    } catch (error) {
      throw this.#inputError === undefined ? error : inputFailed(this.#inputError);
    }
    // Most often all of it came with the exit: then nothing is waited for, not even a microtask.
    if (!command.isClosed) {
      await stdout.received(exit.stdout.bytes);
      await stderr.received(exit.stderr.bytes);
      // Complete output was counted; a connection that ended meanwhile is told here.
      if (exit.outputComplete) await command.closed;
    }
    // Of more than the leader's bytes, descendants wrote the rest.
    const output = { stdout: stdout.take(exit.stdout.bytes), stderr: stderr.take(exit.stderr.bytes) };
    stdout.drop();
    stderr.drop();
    if (this.#inputError !== undefined) throw inputFailed(this.#inputError, output);
    if (this.#excess) {
      const text = `the command wrote more than maxBufferBytes ${this.#bytesMax} and was killed`;
      throw new HawserError('max_buffer', text, { output });
    }
    this.#assertWhole('stdout', stdout, output);
    this.#assertWhole('stderr', stderr, output);
    const { code, signal, timedOut } = exit;
    const asBuffers = this.#options.encoding === 'buffer';
    return {
      code,
      signal,
      timedOut,
      stdout: asBuffers ? output.stdout : output.stdout.toString('utf8'),
      stderr: asBuffers ? output.stderr : output.stderr.toString('utf8'),
      exit,
    };
  }

  /** A session that was found by its key may have run for long, and dropped what nobody read. */
  #assertWhole(name: string, buffer: OutputBuffer, output: HawserError['output']): void {
    if (buffer.gapped === undefined) return;
    const { from, to } = buffer.gapped;
    throw new HawserError('output_mismatch', `bytes ${from} to ${to} of ${name} are not kept any more`, {
      output,
    });
  }

  #kill(): void {
    if (this.#excess) return;
    this.#excess = true;
    this.command.kill().catch(() => {});
  }

  #feed(input: Readable, stdin: InputStream): void {
    // A command that does not read to the end is no error; a source that fails ends what it feeds.
    pipeline(input, stdin).catch((error: Error) => {
      if (error instanceof HawserError) return;
      this.#inputError = error;
      this.command.kill().catch(() => {});
    });
  }
}

function inputOf(input: ExecOptions['input']): CommandInput | null {
  if (input === undefined) return null;
  if (input instanceof Readable) return new InputStream();
  return new InputBuffer(typeof input === 'string' ? Buffer.from(input) : input);
}

export function aborted(signal: AbortSignal): HawserError {
  return new HawserError('aborted', 'the command was aborted', { cause: signal.reason });
}

function inputFailed(cause: Error, output?: HawserError['output']): HawserError {
  const text = `the command was killed, since its input failed: ${cause.message}`;
  return new HawserError('aborted', text, { cause, output });
}
