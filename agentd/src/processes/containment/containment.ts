import { HawserError } from '@hawser/protocol';
import * as native from '../../ffi/native.js';
import type { Launcher } from '../launcher.js';
import type { Poller } from '../poller.js';
import { delegatedCgroup } from './cgroup-base.js';
import { CgroupHierarchy } from './cgroup-hierarchy.js';
import type { LimitFile } from './cgroup-limits.js';
import { limitFiles, unsupportedLimit } from './cgroup-limits.js';
import { CgroupTree } from './cgroup-tree.js';
import type { CgroupLimits, Confidence, ContainmentMode, ProcessTree } from './process-tree.js';
import { ProcessWalk } from './process-walk.js';
import { markerName, WalkTree } from './walk-tree.js';
import { Watchdog } from './watchdog.js';

export interface ContainmentOptions {
  readonly poller: Poller;
  readonly launcher: Launcher;
  /** Another one for every start of the agent; the session ids begin with it and a dash. */
  readonly bootId: string;
  readonly mode: ContainmentMode;
  /** A cgroup below which the agent may make its own. Default: the one that the agent is in. */
  readonly cgroupParent: string | undefined;
  /** From 0 up to, but not including, 1. Default: `Math.random`. */
  readonly random?: (() => number) | undefined;
  /** Orphans come to this process from now on, and have to be waited for. */
  readonly onAdopting: () => void;
  readonly warn: (fields: object, message: string) => void;
}

/** How the mode was decided. */
type Means =
  | { readonly kind: 'cgroup'; readonly hierarchy: CgroupHierarchy }
  | { readonly kind: 'walk'; readonly walk: ProcessWalk; readonly why: string };

/** How long an orphan's tree may wait to be looked at: deaths come in flocks, ms. */
const lookDelayMs = 20;

const noLimits: readonly LimitFile[] = [];

/**
 * The process trees of all sessions. Nothing of it is done before the first session: an agent that is
 * asked nothing has no cgroups and no watchdog.
 */
export class Containment {
  readonly #options: ContainmentOptions;
  readonly #trees = new Map<string, ProcessTree>();
  readonly #ownChildren = new Set<number>();
  #means: Means | undefined;
  #watchdog: Watchdog | undefined;
  #look: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: ContainmentOptions) {
    this.#options = options;
  }

  /**
   * Decides now where the configuration leaves no choice, so that a wrong one is found at the start.
   *
   * @throws HawserError `invalid_config`
   */
  start(): void {
    const { mode, cgroupParent } = this.#options;
    if (mode === 'cgroup' || (mode === 'auto' && cgroupParent !== undefined)) this.#decided();
  }

  /** `undefined` before the first session. */
  get confidence(): Confidence | undefined {
    if (this.#means === undefined) return undefined;
    return this.#means.kind === 'cgroup' ? 'exact' : 'best_effort';
  }

  /**
   * A tree for a session to be launched.
   *
   * @param survives it is not to end with the agent.
   * @throws HawserError `unsupported` for limits that need a controller, `limit_not_allowed`,
   *   `invalid_argument`, `system_call_failed`; nothing is left behind.
   */
  prepare(sessionId: string, limits: CgroupLimits | undefined, survives = false): ProcessTree {
    const means = this.#decided();
    const files = limits === undefined ? noLimits : limitFiles(limits);
    const onOver = (): void => void this.#trees.delete(sessionId);
    let tree: ProcessTree;
    if (means.kind === 'cgroup') {
      const { poller } = this.#options;
      tree = new CgroupTree({ hierarchy: means.hierarchy, poller, limits: files, survives, onOver });
    } else {
      const [first] = files;
      if (first !== undefined) throw unsupportedLimit(first, `this agent has no cgroup: ${means.why}`);
      tree = new WalkTree({ walk: means.walk, sessionId, survives, onOver });
    }
    this.#trees.set(sessionId, tree);
    this.#watchdog?.ensure();
    return tree;
  }

  /** The tree of a session that has processes, though its leader may be dead. */
  find(sessionId: string): ProcessTree | undefined {
    return this.#trees.get(sessionId);
  }

  /** A child of the agent that is waited for here. */
  owns(pid: number): boolean {
    return this.#ownChildren.has(pid);
  }

  /** The agent has waited for somebody else's orphan. */
  orphanReaped(): void {
    if (this.#look !== undefined || this.#means?.kind !== 'walk') return;
    this.#look = setTimeout(() => {
      this.#look = undefined;
      for (const tree of this.#trees.values()) if (tree instanceof WalkTree) tree.orphanReaped();
    }, lookDelayMs).unref();
  }

  /** Ends every session's processes but for those that survive. @returns when they are gone. */
  async killAll(survives: (sessionId: string) => boolean = () => false): Promise<void> {
    const doomed = [...this.#trees].filter(([id]) => !survives(id)).map(([, tree]) => tree);
    await Promise.all(doomed.map((tree) => tree.killTree()));
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#look);
    if (this.#means?.kind === 'cgroup') this.#means.hierarchy.close();
  }

  #decided(): Means {
    if (this.#means !== undefined) return this.#means;
    this.#means = this.#decide();
    // The first process of a machine has no death that anybody could watch for.
    if (process.pid !== 1) this.#watchdog = this.#watchdogFor(this.#means);
    return this.#means;
  }

  #decide(): Means {
    const { mode, cgroupParent, bootId } = this.#options;
    if (mode === 'walk') return this.#decideWalk('it is configured so');
    const base = cgroupParent ?? delegatedCgroup();
    try {
      if (base === undefined) throw new HawserError('unsupported', 'no cgroup v2 hierarchy is mounted');
      return { kind: 'cgroup', hierarchy: new CgroupHierarchy(base, bootId) };
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      if (mode === 'cgroup' || cgroupParent !== undefined)
        throw new HawserError('invalid_config', `no cgroup v2 can be had: ${why}`, { cause: error });
      return this.#decideWalk(why);
    }
  }

  #decideWalk(why: string): Means {
    native.becomeSubreaper();
    this.#options.onAdopting();
    this.#options.warn({ why }, 'sessions are contained by best effort only: there is no cgroup for them');
    return { kind: 'walk', walk: new ProcessWalk(this.#options.random), why };
  }

  #watchdogFor(means: Means): Watchdog {
    const { poller, launcher, bootId, warn } = this.#options;
    const args =
      means.kind === 'cgroup'
        ? ['cgroup', means.hierarchy.path]
        : ['walk', `${markerName}=${bootId}-`, String(means.walk.marks.first), String(means.walk.marks.last)];
    return new Watchdog(
      poller,
      launcher,
      args,
      (pid, lives) => this.#ownChild(means, pid, lives),
      (reason) => {
        if (!this.#closed) warn({ reason }, 'no watchdog: sessions would outlive an agent that is killed');
      },
    );
  }

  #ownChild(means: Means, pid: number, lives: boolean): void {
    if (lives) this.#ownChildren.add(pid);
    else this.#ownChildren.delete(pid);
    if (means.kind !== 'walk') return;
    if (lives) means.walk.own(pid);
    else means.walk.disown(pid);
  }
}
