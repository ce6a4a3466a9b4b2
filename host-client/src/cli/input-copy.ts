import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream';

let taken = false;

/** Standard input to the command's, with back-pressure; its end ends the command's. */
export function copyInput(stdin: Writable): void {
  taken = true;
  // A command that closed its stdin takes no more; that is its right, and its exit code says the rest.
  pipeline(process.stdin, stdin, () => undefined);
}

/** Lets go of standard input, which would keep this program alive. */
export function releaseInput(): void {
  if (taken) process.stdin.destroy();
}
