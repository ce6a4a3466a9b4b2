import { readdirSync } from 'node:fs';
import { HawserError } from '@hawser/protocol';
import { EBUSY } from '../../ffi/errno.js';
import * as native from '../../ffi/native.js';
import { CgroupDirectory } from './cgroup-files.js';
import { CgroupLeaf, type CpuTimes } from './cgroup-leaf.js';

/** What limits and statistics come from (cgroups(7)). */
export type Controller = 'cpu' | 'io' | 'memory' | 'pids';
const wanted: readonly Controller[] = ['cpu', 'io', 'memory', 'pids'];

/**
 * Leaves kept for sessions to come: the reused ones, and those made in advance. Few are kept open: each has three
 * descriptors, and every launch copies all that the agent has. Of the others, for many commands at once, only the
 * name is kept.
 */
const openMax = 8;
const shutMax = 120;
const madeInAdvance = 2;

/** How long a leaf that still looks busy is tried to be removed, and how often. */
const removeRetryMs = 20;
const removeTries = 50;

const prefix = 'hawser-';
const survivorsSuffix = '-survivors';

/** A leaf of which nothing is open. */
interface ShutLeaf {
  readonly name: string;
  readonly cpuBefore: CpuTimes;
}

/**
 * The agent's own part of the cgroup v2 hierarchy: `hawser-PID-BOOT` below its base, one leaf in it
 * for each session. Whoever kills that directory kills all sessions, and nothing else is in it. A
 * lock on it says that its agent lives; one that is not locked is removed by the next agent.
 */
export class CgroupHierarchy {
  readonly controllers: ReadonlySet<Controller>;
  readonly path: string;
  readonly #base: CgroupDirectory;
  readonly #parent: CgroupDirectory;
  readonly #parentName: string;
  readonly #survivorsName: string;
  #survivors: CgroupDirectory | undefined;
  readonly #free: CgroupLeaf[] = [];
  readonly #shut: ShutLeaf[] = [];
  #made = 0;
  #refill: NodeJS.Immediate | undefined;
  #closed = false;

  /**
   * @param basePath an existing cgroup that this process may make others in.
   * @param bootId another one for every start of the agent.
   * @throws HawserError `system_call_failed`: no cgroup can be made there.
   */
  constructor(basePath: string, bootId: string) {
    this.#base = CgroupDirectory.open(basePath);
    try {
      if (this.#base.read('cgroup.procs') === undefined)
        throw new HawserError('system_call_failed', `${basePath} is no cgroup`);
      removeAbandoned(this.#base);
      this.#parentName = `${prefix}${process.pid}-${bootId}`;
      this.#survivorsName = `${this.#parentName}${survivorsSuffix}`;
      this.#parent = this.#base.make(this.#parentName);
    } catch (error) {
      this.#base.close();
      throw error;
    }
    native.lock(this.#parent.fd);
    this.path = this.#parent.path;
    this.controllers = enableControllers(this.#base, this.#parent);
  }

  /** A leaf of its own for a session. @throws HawserError `system_call_failed`. */
  take(survives: boolean): CgroupLeaf {
    if (survives) return this.#make(this.#survivorsParent(), true);
    const leaf = this.#free.pop() ?? this.#reopen() ?? this.#make(this.#parent, false);
    if (this.controllers.size > 0) this.#makeInAdvance();
    return leaf;
  }

  /**
   * The leaf has no process any more. Where nothing but its members was counted it serves again: a new
   * one costs a third of what launching a process does.
   *
   * @param clean it was neither limited nor frozen nor killed.
   */
  giveBack(leaf: CgroupLeaf, clean: boolean): void {
    if (clean && this.controllers.size === 0 && !leaf.survives && !this.#closed && this.#keep(leaf)) return;
    leaf.close();
    this.#remove(leaf.survives ? this.#survivors : this.#parent, leaf.name, removeTries);
  }

  /** @returns whether there is room for it, and it could be read what it has used. */
  #keep(leaf: CgroupLeaf): boolean {
    if (this.#free.length >= openMax && this.#shut.length >= shutMax) return false;
    try {
      leaf.cpuBefore = leaf.cpuTimes();
    } catch {
      return false; // no descriptor is left to read it through
    }
    if (this.#free.length < openMax) {
      this.#free.push(leaf);
    } else {
      this.#shut.push({ name: leaf.name, cpuBefore: leaf.cpuBefore });
      leaf.close();
    }
    return true;
  }

  /** Removes what is empty. What still has processes is left to the watchdog, or to the next agent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#refill !== undefined) clearImmediate(this.#refill);
    for (const leaf of this.#free) leaf.close();
    this.#parent.close();
    this.#survivors?.close();
    this.#base.remove(this.#parentName);
    if (this.#survivors !== undefined) this.#base.remove(this.#survivorsName);
    this.#base.close();
  }

  #survivorsParent(): CgroupDirectory {
    if (this.#survivors === undefined) {
      this.#survivors = this.#base.make(this.#survivorsName);
      native.lock(this.#survivors.fd);
      for (const controller of this.controllers)
        this.#survivors.write('cgroup.subtree_control', `+${controller}`);
    }
    return this.#survivors;
  }

  #make(parent: CgroupDirectory, survives: boolean): CgroupLeaf {
    const name = `s${++this.#made}`;
    const directory = parent.make(name);
    try {
      return CgroupLeaf.open(directory, { name, survives, cpuBefore: { userUs: 0, systemUs: 0 } });
    } catch (error) {
      parent.remove(name);
      throw error;
    }
  }

  #reopen(): CgroupLeaf | undefined {
    const shut = this.#shut.pop();
    if (shut === undefined) return undefined;
    const { name, cpuBefore } = shut;
    try {
      return CgroupLeaf.open(this.#parent.child(name), { name, survives: false, cpuBefore });
    } catch {
      return undefined; // Somebody has removed it, or no descriptor is left: making another will tell.
    }
  }

  /** Between sessions, so that none waits for it. */
  #makeInAdvance(): void {
    if (this.#refill !== undefined || this.#free.length >= madeInAdvance) return;
    this.#refill = setImmediate(() => {
      this.#refill = undefined;
      try {
        while (this.#free.length < madeInAdvance && !this.#closed)
          this.#free.push(this.#make(this.#parent, false));
      } catch (error) {
        if (!(error instanceof HawserError)) throw error;
        // The session that needs one will say why there is none.
      }
    });
  }

  /** The kernel may need a moment more for the last process of a cgroup that reads as empty. */
  #remove(parent: CgroupDirectory | undefined, name: string, tries: number): void {
    if (parent === undefined || this.#closed || parent.remove(name) || tries === 0) return;
    setTimeout(() => this.#remove(parent, name, tries - 1), removeRetryMs).unref();
  }
}

/** Directories of agents that are gone. Those of survivors go when the last survivor does. */
function removeAbandoned(base: CgroupDirectory): void {
  for (const entry of readdirSync(base.path, { withFileTypes: true })) {
    if (!entry.isDirectory() || !entry.name.startsWith(prefix)) continue;
    try {
      const directory = CgroupDirectory.open(`${base.path}/${entry.name}`);
      const abandoned = native.lock(directory.fd) === 0;
      directory.close();
      if (abandoned) base.remove(entry.name);
    } catch {
      // Somebody else has removed it.
    }
  }
}

/**
 * Makes the controllers count for the parent's children, where that is allowed.
 *
 * A cgroup with processes in it gives no controllers to its children (EBUSY), but for the root. Where
 * the agent is the only process of its cgroup, it moves out of the way.
 */
function enableControllers(base: CgroupDirectory, parent: CgroupDirectory): Set<Controller> {
  const available = wanted.filter((name) => base.words('cgroup.controllers').includes(name));
  const missing = available.filter((name) => !base.words('cgroup.subtree_control').includes(name));
  let moved = false;
  for (const name of missing) {
    let result = base.write('cgroup.subtree_control', `+${name}`);
    if (result === -EBUSY && !moved) {
      moved = true;
      if (moveAside(base)) result = base.write('cgroup.subtree_control', `+${name}`);
    }
  }
  for (const name of available) parent.write('cgroup.subtree_control', `+${name}`);
  const enabled = parent.words('cgroup.subtree_control');
  return new Set(available.filter((name) => enabled.includes(name)));
}

/** The name is made as those of sessions' parents are, and removed as they are: when nobody is in it. */
function moveAside(base: CgroupDirectory): boolean {
  const members = base.words('cgroup.procs');
  if (members.length !== 1 || members[0] !== String(process.pid)) return false;
  try {
    const aside = base.make(`${prefix}agent-${process.pid}`);
    const result = aside.write('cgroup.procs', String(process.pid));
    aside.close();
    return result === 0;
  } catch (error) {
    if (error instanceof HawserError && error.errno === 'EEXIST') return false;
    throw error;
  }
}
