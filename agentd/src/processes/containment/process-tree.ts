import { HawserError } from '@hawser/protocol';
import type { LaunchDraft } from '../launch-request.js';

/** `auto`: cgroup v2 where a cgroup can be made, else the walk through /proc. */
export const containmentModes = ['auto', 'cgroup', 'walk'] as const;
export type ContainmentMode = (typeof containmentModes)[number];

/**
 * `exact`: the kernel keeps the list, and nobody can leave it. `best_effort`: found by kinship and
 * marks, which a process may shed (docs/containment.md).
 */
export type Confidence = 'exact' | 'best_effort';

/** What a session may use of the machine, all of its processes together. */
export interface CgroupLimits {
  /** Bytes; beyond, the kernel kills. */
  readonly memoryMax?: number | bigint | undefined;
  /** Bytes; beyond, the kernel slows down. */
  readonly memoryHigh?: number | bigint | undefined;
  readonly pidsMax?: number | bigint | undefined;
  /** Processors, e.g. 1.5. */
  readonly cpuMax?: number | undefined;
  /** From 1 to 10000, against 100 of everybody else. */
  readonly ioWeight?: number | undefined;
}

/** One process of a tree. */
export interface ProcessInfo {
  readonly pid: number;
  /** 0 where it is outside of what the agent sees. */
  readonly parentPid: number;
  /** The program's name, at most 15 bytes (proc_pid_comm(5)). */
  readonly name: string;
  /** Empty where the process has overwritten or dropped it. Cut off where `commandCut`. */
  readonly command: readonly (string | Uint8Array)[];
  readonly commandCut: boolean;
  /** A letter of proc_pid_stat(5): R running, S sleeping, D in the kernel, T stopped, Z dead and not waited for. */
  readonly state: string;
  readonly threads: number;
  readonly cpuUserUs: number;
  readonly cpuSystemUs: number;
  readonly rssBytes: number;
  /** Microseconds since 1970, to 10 ms. */
  readonly startedAtUs: number;
}

/** What a tree uses. What no controller counts is absent. */
export interface TreeStats {
  /** Live ones. */
  readonly processes: number;
  /** With a cgroup, that of processes that have died is in it. */
  readonly cpuUserUs: number;
  readonly cpuSystemUs: number;
  /** With the memory controller, page cache is in it; else the sum of what is resident, shared pages counted for each. */
  readonly memoryBytes: number;
  readonly memoryPeakBytes?: number | undefined;
  readonly oomKills?: number | undefined;
  /** How often `pidsMax` refused a process. */
  readonly pidsRefused?: number | undefined;
}

/** What is left when the leader is dead. */
export interface AfterLeader {
  /** Processes that outlived it. */
  readonly survivors: number;
  /** The kernel has killed one of the tree for want of memory; absent where nobody counts. */
  readonly oomKilled: boolean | undefined;
}

/**
 * The processes of one session, from before its leader is made until the last of them is gone. Whose
 * `launch` it went through must say `leaderDied` or `abandon`, once.
 */
export interface ProcessTree {
  readonly confidence: Confidence;
  /** `killTree` was called: SIGKILL is not what a stranger sent. */
  readonly killed: boolean;
  /** No process is left, nor will there be one. */
  readonly over: boolean;
  /** Adds to a request what makes its child a member from birth on. */
  contain(request: LaunchDraft): void;
  /** The launcher has made the leader. */
  assign(leader: number): void;
  /** There is no leader, nor ever was one. */
  abandon(): void;
  /** The leader is dead. Before or after it was waited for, but in the same turn. */
  leaderDied(): AfterLeader;
  members(): ProcessInfo[];
  stats(): TreeStats;
  /** SIGKILL to all. @returns when all are dead; zombies are. */
  killTree(): Promise<void>;
  /** @throws HawserError `not_a_member` for a pid of another tree, of nobody, or of a process that is dead. */
  killOne(pid: number, signal: number): void;
  /** To every process that there is now. @returns how many got it. */
  signalTree(signal: number): number;
  /** @returns when no process of the tree runs any more. */
  freeze(): Promise<void>;
  thaw(): Promise<void>;
}

export function notAMember(pid: number): HawserError {
  return new HawserError('not_a_member', `process ${pid} is not one of the session's`);
}
