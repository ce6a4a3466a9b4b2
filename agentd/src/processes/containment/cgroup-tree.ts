import { HawserError } from '@hawser/protocol';
import { ENOBUFS, ENOENT, systemCallError } from '../../ffi/errno.js';
import * as native from '../../ffi/native.js';
import type { LaunchDraft } from '../launch-request.js';
import type { Poller } from '../poller.js';
import { CgroupEvents } from './cgroup-events.js';
import type { CgroupHierarchy } from './cgroup-hierarchy.js';
import type { CgroupLeaf } from './cgroup-leaf.js';
import type { LimitFile } from './cgroup-limits.js';
import { unsupportedLimit, writeLimits } from './cgroup-limits.js';
import { describe, recordsOf } from './process-record.js';
import type { AfterLeader, ProcessInfo, ProcessTree, TreeStats } from './process-tree.js';
import { notAMember } from './process-tree.js';

const SIGKILL = 9;

/** How soon those who are left are killed again, and how seldom at least. */
const killAgainMs = 5;
const killAgainMsMax = 500;

/** A tree that forks faster than it is listed would be signalled without end. */
const signalPassesMax = 16;

/** Members that there is room for at first; it grows. */
let pids = new Int32Array(1024);

export interface CgroupTreeOptions {
  readonly hierarchy: CgroupHierarchy;
  readonly poller: Poller;
  readonly limits: readonly LimitFile[];
  readonly survives: boolean;
  /** No process is left. */
  readonly onOver: () => void;
  /** For tests of what older kernels need: Linux before 5.14 has no cgroup.kill. */
  readonly withoutKillFile?: boolean;
}

/** A session's processes in a cgroup of their own: the kernel keeps the list, and nobody can leave it. */
export class CgroupTree implements ProcessTree {
  readonly confidence = 'exact';
  readonly #options: CgroupTreeOptions;
  readonly #leaf: CgroupLeaf;
  readonly #events: CgroupEvents;
  /** `lives`: the leader does, or is still to come. `left`: it is dead, others live. */
  #state: 'lives' | 'left' | 'over' = 'lives';
  #killed = false;
  #killTimer: NodeJS.Timeout | undefined;
  /** Whether the next session may have the leaf. */
  #clean: boolean;

  /** @throws HawserError `unsupported` for a limit without its controller, `limit_not_allowed`, `system_call_failed`. */
  constructor(options: CgroupTreeOptions) {
    this.#options = options;
    const { hierarchy, limits } = options;
    const missing = limits.find(({ controller }) => !hierarchy.controllers.has(controller));
    if (missing !== undefined)
      throw unsupportedLimit(missing, `${hierarchy.path} has ${listed(hierarchy.controllers)}`);
    this.#clean = limits.length === 0;
    this.#leaf = hierarchy.take(options.survives);
    try {
      writeLimits(this.#leaf.directory, limits);
    } catch (error) {
      hierarchy.giveBack(this.#leaf, false);
      throw error;
    }
    this.#events = new CgroupEvents(options.poller, this.#leaf.events);
  }

  get killed(): boolean {
    return this.#killed;
  }

  get over(): boolean {
    return this.#state === 'over';
  }

  contain(request: LaunchDraft): void {
    request.cgroupFd = this.#leaf.directory.fd;
  }

  assign(_leader: number): void {
    // It was born there.
  }

  abandon(): void {
    this.#over();
  }

  leaderDied(): AfterLeader {
    const { directory } = this.#leaf;
    const survivors = this.#events.state.populated ? this.#pids().length : 0;
    const counts = this.#options.hierarchy.controllers.has('memory');
    const oomKilled = counts ? (directory.keyed('memory.events', 'oom_kill') ?? 0) > 0 : undefined;
    if (survivors === 0) {
      this.#over();
    } else {
      this.#state = 'left';
      void this.#events.until(({ populated }) => !populated).then(() => this.#over());
    }
    return { survivors, oomKilled };
  }

  members(): ProcessInfo[] {
    return this.over ? [] : describe(recordsOf(this.#pids()));
  }

  stats(): TreeStats {
    if (this.over) return { processes: 0, cpuUserUs: 0, cpuSystemUs: 0, memoryBytes: 0 };
    const { directory, cpuBefore } = this.#leaf;
    const { controllers } = this.#options.hierarchy;
    const memory = controllers.has('memory');
    const { userUs, systemUs } = this.#leaf.cpuTimes();
    const members = this.#pids();
    return {
      processes: members.length,
      cpuUserUs: userUs - cpuBefore.userUs,
      cpuSystemUs: systemUs - cpuBefore.systemUs,
      memoryBytes: (memory ? directory.number('memory.current') : undefined) ?? residentBytes(members),
      memoryPeakBytes: memory ? directory.number('memory.peak') : undefined,
      oomKills: memory ? directory.keyed('memory.events', 'oom_kill') : undefined,
      pidsRefused: controllers.has('pids') ? directory.keyed('pids.events', 'max') : undefined,
    };
  }

  async killTree(): Promise<void> {
    if (this.over) return;
    this.#killed = true;
    this.#clean = false;
    if (this.#options.withoutKillFile === true || !this.#kill()) this.#killOneByOne();
    else this.#killAgain(killAgainMs);
    await this.#events.until(({ populated }) => !populated);
  }

  /** @returns whether the kernel can. */
  #kill(): boolean {
    const result = this.#leaf.directory.write('cgroup.kill', '1');
    if (result < 0 && result !== -ENOENT)
      throw systemCallError('write', result, `${this.#leaf.directory.path}/cgroup.kill`);
    return result === 0;
  }

  /**
   * Until nobody is left: once is not enough. A process may be on its way from fork's last look at its parent's
   * signals to the list of members, while the kernel kills that parent, and comes to the end of the list (kernel/fork.c,
   * copy_process; kernel/cgroup/cgroup.c, __cgroup_kill; Linux 6.18). Frozen, those who are left fork no more, and die.
   */
  #killAgain(afterMs: number): void {
    clearTimeout(this.#killTimer);
    this.#killTimer = setTimeout(() => {
      // Not by reading the state: whoever waits would not be woken for what was read here.
      this.#events.check();
      if (!this.#events.awaited) return;
      // A cgroup that is gone has nobody in it.
      for (const file of ['cgroup.freeze', 'cgroup.kill']) this.#leaf.directory.write(file, '1');
      this.#killAgain(Math.min(2 * afterMs, killAgainMsMax));
    }, afterMs).unref();
  }

  killOne(pid: number, signal: number): void {
    const sent = this.over ? 0 : this.#signal(Int32Array.of(pid), signal);
    if (sent === 0) throw notAMember(pid);
  }

  /** Those that are born while it goes through the list get it too, or come from one that has got it. */
  signalTree(signal: number): number {
    if (this.over) return 0;
    const seen = new Set<number>();
    let sent = 0;
    for (let pass = 0; pass < signalPassesMax; pass++) {
      const fresh = this.#pids().filter((pid) => !seen.has(pid));
      if (fresh.length === 0) break;
      for (const pid of fresh) seen.add(pid);
      sent += this.#signal(fresh, signal);
    }
    return sent;
  }

  async freeze(): Promise<void> {
    this.#assertLive();
    this.#clean = false;
    this.#write('cgroup.freeze', '1');
    await this.#events.until(({ frozen, populated }) => frozen || !populated);
  }

  async thaw(): Promise<void> {
    this.#assertLive();
    this.#write('cgroup.freeze', '0');
  }

  /** While they are frozen nobody can fork, and SIGKILL reaches them all the same. */
  #killOneByOne(): void {
    this.#write('cgroup.freeze', '1');
    const pass = (): void => {
      const members = this.#pids();
      if (members.length === 0) return;
      this.#signal(members, SIGKILL);
      setTimeout(pass, 5);
    };
    pass();
  }

  #write(file: string, text: string): void {
    const result = this.#leaf.directory.write(file, text);
    if (result < 0) throw systemCallError('write', result, `${this.#leaf.directory.path}/${file}`);
  }

  #signal(targets: Int32Array, signal: number): number {
    const { fd, path } = this.#leaf.directory;
    let capacity = pids.length + targets.length;
    let sent = native.cgroupSignal(fd, targets, targets.length, signal, capacity);
    while (sent === -ENOBUFS)
      sent = native.cgroupSignal(fd, targets, targets.length, signal, (capacity *= 2));
    if (sent < 0) throw systemCallError('signal', sent, path);
    return sent;
  }

  /** A copy. */
  #pids(): Int32Array {
    const { fd, path } = this.#leaf.directory;
    let count = native.cgroupPids(fd, pids, pids.length);
    while (count === -ENOBUFS) {
      pids = new Int32Array(pids.length * 2);
      count = native.cgroupPids(fd, pids, pids.length);
    }
    if (count < 0) throw systemCallError('read', count, `${path}/cgroup.procs`);
    return pids.slice(0, count);
  }

  #assertLive(): void {
    if (this.over) throw new HawserError('session_ended', 'no process of the session is left');
  }

  #over(): void {
    if (this.over) return;
    this.#state = 'over';
    clearTimeout(this.#killTimer);
    this.#events.check();
    this.#options.onOver();
    const giveBack = (): void => this.#options.hierarchy.giveBack(this.#leaf, this.#clean);
    // A kernel may need a moment more until it says that nobody is left.
    if (this.#events.awaited) void this.#events.until(({ populated }) => !populated).then(giveBack);
    else setImmediate(giveBack); // what the host waits for leaves first
  }
}

function residentBytes(members: Int32Array): number {
  if (members.length === 0) return 0;
  const records = recordsOf(members);
  let sum = 0;
  for (let i = 0; i < records.count; i++) sum += records.rssBytes(i);
  return sum;
}

function listed(controllers: ReadonlySet<string>): string {
  return controllers.size === 0 ? 'no controllers' : `only ${[...controllers].join(', ')}`;
}
