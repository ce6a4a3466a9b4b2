import type { ChildProcess, StdioOptions } from 'node:child_process';
import { kernel32 } from '../../ffi/job-object.js';
import { LinuxProcessTree } from './linux-process-tree.js';
import { WindowsProcessTree } from './windows-process-tree.js';

export interface TreeSpawnOptions {
  readonly cwd: string;
  readonly stdio: StdioOptions;
  readonly env?: NodeJS.ProcessEnv;
}

/**
 * All processes that stand for a VM: the hypervisor and whatever it starts. They end with the process
 * that holds the tree, in whatever way that one ends.
 */
export interface ProcessTree {
  /**
   * Starts a member.
   *
   * @returns when it runs; where it cannot be made a member it is killed
   * @throws the system's error, e.g. ENOENT, or a HawserError of the containment
   */
  spawn(file: string, args: readonly string[], options: TreeSpawnOptions): Promise<ChildProcess>;
  /** Ends every member at once, and resolves when none is left. */
  kill(): Promise<void>;
  /** Lets go of what the tree holds; members that are left die where the system sees to that. Idempotent. */
  close(): void;
}

/** The tree of this process, for this system. Others than Linux and Windows get what any Unix gives: a process group. */
export function openProcessTree(platform: NodeJS.Platform = process.platform): ProcessTree {
  return platform === 'win32' ? new WindowsProcessTree(kernel32()) : new LinuxProcessTree();
}
