import type { ErrorCode } from '@hawser/protocol';
import { signalNumber } from './parse-signal.js';

/** What `hawser` exits with where the command's own code does not decide. */
export const exitCodes = {
  /** The command was ended by `--timeout`: as timeout(1). */
  timedOut: 124,
  /** Hawser itself failed: the line, the agent, the options. As docker(1). */
  hawserFailed: 125,
  /** The command was found and cannot be executed: as sh(1). */
  notExecutable: 126,
  /** The command, or its interpreter, does not exist: as sh(1). */
  notFound: 127,
  /** The local reader of the output went away: as a command that SIGPIPE ended. */
  outputClosed: 128 + 13,
} as const;

/** `128+n`; 255 for a signal that this build cannot number. */
export function signalExitCode(signal: string): number {
  const number = signalNumber(signal);
  return number === undefined ? 255 : 128 + number;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly timedOut: boolean;
}

/** Somebody else in the guest has waited for the command's process: its end is not known. */
export function isUnknown({ code, signal, timedOut }: Ended): boolean {
  return code === null && signal === null && !timedOut;
}

export function recordExitCode({ code, signal, timedOut }: Ended): number {
  if (timedOut) return exitCodes.timedOut;
  if (signal !== null) return signalExitCode(signal);
  return code ?? exitCodes.hawserFailed;
}

export function errorExitCode(code: ErrorCode): number {
  switch (code) {
    case 'not_found':
    case 'interpreter_not_found':
      return exitCodes.notFound;
    case 'not_executable':
    case 'permission_denied':
      return exitCodes.notExecutable;
    default:
      return exitCodes.hawserFailed;
  }
}
