import { HawserError } from '@hawser/protocol';
import { ECHILD, systemCallError } from '../ffi/errno.js';
import * as native from '../ffi/native.js';
import { signalName } from './signals.js';

/** How a process ended; `unknown` where somebody else in this process has waited for it (wait(2)). */
export type ExitStatus =
  | { readonly code: number }
  | { readonly signal: string; readonly coreDumped: boolean }
  | { readonly unknown: true };

/** What the process and the children it waited for used (getrusage(2)). */
export interface ResourceUsage {
  readonly userUs: number;
  readonly systemUs: number;
  /**
   * Kibibytes. The kernel counts from before execve, when the child had the agent's memory: it is
   * never below what the agent had resident at the launch, and says nothing of a smaller command.
   */
  readonly maxRssKiB: number;
  readonly minorFaults: number;
  readonly majorFaults: number;
  readonly voluntarySwitches: number;
  readonly involuntarySwitches: number;
  /** Of 512 bytes, from and to a disk. */
  readonly inBlocks: number;
  readonly outBlocks: number;
}

export interface WaitResult {
  readonly status: ExitStatus;
  readonly usage: ResourceUsage;
}

/** si_code of a SIGCHLD (sigaction(2)). */
const exited = 1;
const killed = 2;
const dumped = 3;

const out = new Float64Array(native.waitOutLength);
const nothing = new Float64Array(native.waitOutLength);

/**
 * Reaps the child behind a pidfd; `null` while it runs. One that was reaped before has no status any
 * more, and no usage.
 */
export function reapPidfd(pidfd: number): WaitResult | null {
  const result = native.waitPidfd(pidfd, out);
  if (result === 0) return null;
  if (result === -ECHILD) return { status: { unknown: true }, usage: usageOf(nothing) };
  if (result < 0) throw systemCallError('waitid', result, `pidfd ${pidfd}`);
  return { status: exitStatus(out[0] as number, out[1] as number), usage: usageOf(out) };
}

/** From `si_code` and `si_status`. */
export function exitStatus(code: number, status: number): ExitStatus {
  switch (code) {
    case exited:
      return { code: status };
    case killed:
    case dumped:
      return { signal: signalName(status), coreDumped: code === dumped };
    default:
      // WEXITED gives no other.
      throw new HawserError('internal', `waitid gave si_code ${code}`);
  }
}

/** Positions 2 to 10, as native/process.c fills them. */
function usageOf(words: Float64Array): ResourceUsage {
  return {
    userUs: words[2] as number,
    systemUs: words[3] as number,
    maxRssKiB: words[4] as number,
    minorFaults: words[5] as number,
    majorFaults: words[6] as number,
    voluntarySwitches: words[7] as number,
    involuntarySwitches: words[8] as number,
    inBlocks: words[9] as number,
    outBlocks: words[10] as number,
  };
}
