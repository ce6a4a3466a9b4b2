import type { Writable } from 'node:stream';
import type { HawserError } from '@hawser/protocol';
import { DetachKeyFilter } from './detach-key-filter.js';

/** A key that may begin the detach keys is kept back for so long at most: a shell wants its Ctrl-P, too. */
const heldMs = 500;

let taken = false;

export interface InputCopyOptions {
  /** What is looked for in the input; none where that is no terminal. */
  readonly detachKeys: Uint8Array;
  /** It is a raw terminal, whose only end is that it was closed: nothing that the command is to read. */
  readonly raw: boolean;
  /** The detach keys were typed. */
  detach(): void;
  /** Another host writes to the session from now on. */
  takenOver(): void;
}

/** Copies standard input to the command's, with back-pressure; its end ends the command's, but for a raw terminal's. */
export class InputCopy {
  readonly #stdin: Writable;
  readonly #options: InputCopyOptions;
  readonly #filter: DetachKeyFilter;
  #timer: NodeJS.Timeout | undefined;
  /** The command takes input from here. */
  #writes = true;

  constructor(stdin: Writable, options: InputCopyOptions) {
    this.#stdin = stdin;
    this.#options = options;
    this.#filter = new DetachKeyFilter(options.detachKeys);
  }

  start(): void {
    taken = true;
    const stdin = this.#stdin;
    // A command that closed its stdin takes no more; that is its right, and its exit code says the rest.
    stdin.on('error', (error: HawserError) => this.#over(error));
    if (stdin.errored !== null) this.#over(stdin.errored as HawserError);
    stdin.on('drain', () => process.stdin.resume());
    process.stdin.on('data', (bytes: Uint8Array) => this.#typed(bytes));
    process.stdin.on('end', () => this.#ended());
    process.stdin.on('error', () => this.#ended()); // a terminal that was hung up
  }

  #typed(bytes: Uint8Array): void {
    clearTimeout(this.#timer);
    const { passed, detach } = this.#filter.push(bytes);
    this.#pass(passed);
    if (detach) this.#options.detach();
    else if (this.#filter.holds) this.#timer = setTimeout(() => this.#pass(this.#filter.release()), heldMs);
  }

  #ended(): void {
    clearTimeout(this.#timer);
    this.#pass(this.#filter.release());
    if (this.#writes && !this.#options.raw) this.#stdin.end();
  }

  #pass(bytes: Uint8Array): void {
    if (bytes.length === 0 || !this.#writes) return;
    if (!this.#stdin.write(bytes)) process.stdin.pause();
  }

  #over(error: HawserError): void {
    this.#writes = false;
    // A program that feeds us hears that nobody reads; what is typed is still looked at for the detach keys.
    if (this.#options.detachKeys.length === 0) process.stdin.destroy();
    else process.stdin.resume();
    if (error.code === 'stdin_taken') this.#options.takenOver();
  }
}

/** Lets go of standard input, which would keep this program alive. */
export function releaseInput(): void {
  if (taken) process.stdin.destroy();
}
