import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, readdirSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { becomeChildSubreaper } from '../../ffi/child-subreaper.js';
import type { ProcessTree, TreeSpawnOptions } from './process-tree.js';

/** How often the table of processes is looked at until nobody is left. SIGKILL takes effect within this, mostly. */
const lookAgainMs = 5;

/**
 * A member is started in a session and process group of its own, and is told by the kernel to die with
 * this process (PR_SET_PDEATHSIG, set by setpriv(1) of util-linux between fork and exec). This process
 * is a child subreaper, so that what a member leaves behind, with whatever group or session, is still a
 * descendant of ours and found in /proc.
 *
 * Without a setpriv that knows `--pdeathsig` (busybox has none), members survive a SIGKILL of this process;
 * the registry's next user then finds and kills the hypervisor.
 */
export class LinuxProcessTree implements ProcessTree {
  #subreaper = false;

  async spawn(file: string, args: readonly string[], options: TreeSpawnOptions): Promise<ChildProcess> {
    this.#becomeSubreaper();
    const setpriv = dyingWithParent();
    const program = findProgram(file, options.env ?? process.env);
    const child = spawn(
      setpriv?.[0] ?? program,
      [...(setpriv?.slice(1) ?? []), ...(setpriv ? [program] : []), ...args],
      {
        cwd: options.cwd,
        stdio: options.stdio,
        detached: true,
        ...(options.env !== undefined && { env: options.env }),
      },
    );
    await once(child, 'spawn');
    return child;
  }

  async kill(): Promise<void> {
    for (;;) {
      const members = descendants(process.pid);
      if (members.length === 0) return;
      for (const pid of members) killQuietly(pid);
      await delay(lookAgainMs);
    }
  }

  close(): void {
    // The kernel sees to the members when this process ends.
  }

  #becomeSubreaper(): void {
    if (this.#subreaper || process.platform !== 'linux') return;
    becomeChildSubreaper();
    this.#subreaper = true;
  }
}

/** The file that PATH leads to. Not left to setpriv: its failure would look like the program's own exit code. */
function findProgram(file: string, env: NodeJS.ProcessEnv): string {
  if (file.includes('/')) {
    accessSync(file, constants.X_OK);
    return file;
  }
  for (const folder of (env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, file);
    if (folder !== '' && isExecutable(path)) return path;
  }
  throw Object.assign(new Error(`${file} is not in PATH`), { code: 'ENOENT' });
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The beginning of a command line that sets the parent-death signal; nothing where no setpriv can. */
function dyingWithParent(): readonly string[] | undefined {
  for (const path of ['/usr/bin/setpriv', '/bin/setpriv']) {
    // util-linux's has it since 2.33; busybox's does not, and is a link to busybox.
    if (isExecutable(path) && readFileSync(path).includes('--pdeathsig'))
      return [path, '--pdeathsig', 'KILL', '--'];
  }
  return undefined;
}

/** All that live below `root`, zombies not counted: those are dead, and reaped by whoever started them. */
export function descendants(root: number): number[] {
  const children = new Map<number, number[]>();
  const zombies = new Set<number>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const found = parentOf(pid);
    if (found === undefined) continue;
    if (found.zombie) zombies.add(pid);
    const siblings = children.get(found.ppid);
    if (siblings === undefined) children.set(found.ppid, [pid]);
    else siblings.push(pid);
  }
  const members: number[] = [];
  const pending = [root];
  for (let pid = pending.pop(); pid !== undefined; pid = pending.pop()) {
    for (const child of children.get(pid) ?? []) {
      pending.push(child);
      if (!zombies.has(child)) members.push(child);
    }
  }
  return members;
}

/** /proc/PID/stat: the name, in parentheses, may hold anything; state and parent follow the last one. */
function parentOf(pid: number): { ppid: number; zombie: boolean } | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined; // it ended meanwhile
  }
  const [state, ppid] = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { ppid: Number(ppid), zombie: state === 'Z' || state === 'X' };
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    // ESRCH: it ended meanwhile, which is what was wanted.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
