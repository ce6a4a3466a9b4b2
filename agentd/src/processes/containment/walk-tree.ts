import { HawserError } from '@hawser/protocol';
import * as native from '../../ffi/native.js';
import type { LaunchDraft } from '../launch-request.js';
import type { ProcessRecords } from './process-record.js';
import { describe } from './process-record.js';
import type { AfterLeader, ProcessInfo, ProcessTree, TreeStats } from './process-tree.js';
import { notAMember } from './process-tree.js';
import type { KnownProcess, ProcessWalk } from './process-walk.js';

const SIGKILL = 9;
const SIGCONT = 18;
const SIGSTOP = 19;

/** The variable that marks a session's processes, in this mode only. */
export const markerName = 'HAWSER_SESSION';
const markerPrefix = Buffer.from(`${markerName}=`);
/** Before the id where the session is not to end with its agent: the watchdog looks for ids alone. */
const survivesPrefix = 'survives:';

/** Rounds of SIGSTOP, after which SIGKILL begins even where new processes still appear. */
const stopPassesMax = 100;
/** The kernel tells nobody but the parent of a death: looked for in intervals that grow, ms. */
const lookIntervalMs = 1;
const lookIntervalMsMax = 100;

export interface WalkTreeOptions {
  readonly walk: ProcessWalk;
  readonly sessionId: string;
  readonly survives: boolean;
  /** No process is left. */
  readonly onOver: () => void;
}

/**
 * A session's processes as /proc shows them: the leader's descendants, what is in one of their
 * sessions (setsid(2)), and the orphans that have one of the two marks. An orphan that shed both before
 * anybody looked is missed.
 */
export class WalkTree implements ProcessTree {
  readonly confidence = 'best_effort';
  readonly #options: WalkTreeOptions;
  readonly #marker: Buffer;
  readonly #slack: number;
  #leader = 0;
  #known = new Map<number, KnownProcess>();
  /** `lives`: the leader does, or is still to come. `left`: it is dead, others live. */
  #state: 'lives' | 'left' | 'over' = 'lives';
  #killed = false;

  constructor(options: WalkTreeOptions) {
    this.#options = options;
    const { sessionId, survives, walk } = options;
    this.#marker = Buffer.from(`${markerName}=${survives ? survivesPrefix : ''}${sessionId}`);
    this.#slack = walk.marks.take(survives);
  }

  get killed(): boolean {
    return this.#killed;
  }

  get over(): boolean {
    return this.#state === 'over';
  }

  contain(request: LaunchDraft): void {
    const env = request.env.filter((entry) => !entry.subarray(0, markerPrefix.length).equals(markerPrefix));
    request.env = [this.#marker, ...env];
    request.timerSlackNs = this.#slack;
  }

  assign(leader: number): void {
    this.#leader = leader;
    this.#options.walk.own(leader);
  }

  abandon(): void {
    this.#over();
  }

  /** Costs a look at the agent's own children only, unless there are orphans: every survivor is one now. */
  leaderDied(): AfterLeader {
    const { walk } = this.#options;
    const survivors = walk.hasAdopted() ? this.#live(this.#look()) : 0;
    walk.disown(this.#leader);
    this.#leader = 0;
    if (survivors === 0) this.#over();
    else this.#state = 'left';
    return { survivors, oomKilled: undefined };
  }

  /** An orphan was reaped, maybe the last one of this tree. */
  orphanReaped(): void {
    if (this.#state === 'left' && this.#live(this.#look()) === 0) this.#over();
  }

  members(): ProcessInfo[] {
    return this.over ? [] : describe(this.#look());
  }

  stats(): TreeStats {
    let [processes, cpuUserUs, cpuSystemUs, memoryBytes] = [0, 0, 0, 0];
    if (!this.over) {
      const records = this.#look();
      processes = this.#live(records);
      for (let i = 0; i < records.count; i++) {
        cpuUserUs += records.userUs(i);
        cpuSystemUs += records.systemUs(i);
        memoryBytes += records.rssBytes(i);
      }
    }
    return { processes, cpuUserUs, cpuSystemUs, memoryBytes };
  }

  async killTree(): Promise<void> {
    if (this.over) return;
    this.#killed = true;
    await this.freeze();
    let interval = lookIntervalMs;
    for (;;) {
      const records = this.#look();
      if (this.#live(records) === 0) break;
      native.signalProcesses(records.bytes, records.count, SIGKILL);
      await pause(interval);
      interval = Math.min(interval * 2, lookIntervalMsMax);
    }
    if (this.#state === 'left') this.#over();
  }

  /** The pidfd first, then the look: who is a member then, and has not died since, is who the pidfd is of. */
  killOne(pid: number, signal: number): void {
    const pidfd = this.over ? -1 : native.openPidfd(pid);
    if (pidfd < 0) throw notAMember(pid);
    try {
      const records = this.#look();
      let index = 0;
      while (index < records.count && (records.pid(index) !== pid || records.isDead(index))) index++;
      if (index === records.count || native.signalPidfd(pidfd, signal) < 0) throw notAMember(pid);
    } finally {
      native.close(pidfd);
    }
  }

  signalTree(signal: number): number {
    if (this.over) return 0;
    const records = this.#look();
    return native.signalProcesses(records.bytes, records.count, signal);
  }

  /** SIGSTOP to all, until a look finds nobody that runs: then nobody forks any more. */
  async freeze(): Promise<void> {
    this.#assertLive();
    for (let pass = 0; pass < stopPassesMax; pass++) {
      const records = this.#look();
      if (!this.#hasRunning(records)) return;
      native.signalProcesses(records.bytes, records.count, SIGSTOP);
      await pause(pass < 3 ? 0 : lookIntervalMs);
    }
  }

  async thaw(): Promise<void> {
    this.#assertLive();
    this.signalTree(SIGCONT);
  }

  #look(): ProcessRecords {
    const records = this.#options.walk.members({
      leader: this.#leader,
      slack: this.#slack,
      marker: this.#marker,
      known: this.#known,
    });
    this.#known = new Map();
    for (let i = 0; i < records.count; i++)
      this.#known.set(records.pid(i), { startTicks: records.startTicks(i), session: records.session(i) });
    return records;
  }

  #live(records: ProcessRecords): number {
    let live = 0;
    for (let i = 0; i < records.count; i++) if (!records.isDead(i)) live++;
    return live;
  }

  /** A stopped one, or one that hangs in the kernel, does not fork. */
  #hasRunning(records: ProcessRecords): boolean {
    for (let i = 0; i < records.count; i++) {
      if (!records.isDead(i) && !'TtD'.includes(records.state(i))) return true;
    }
    return false;
  }

  #assertLive(): void {
    if (this.over) throw new HawserError('session_ended', 'no process of the session is left');
  }

  #over(): void {
    if (this.over) return;
    this.#state = 'over';
    if (this.#slack > 0) this.#options.walk.marks.giveBack(this.#slack);
    this.#options.onOver();
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    if (ms === 0) setImmediate(resolve);
    else setTimeout(resolve, ms);
  });
}
