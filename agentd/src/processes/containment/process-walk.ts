import { readFileSync } from 'node:fs';
import { ENOBUFS, systemCallError } from '../../ffi/errno.js';
import * as native from '../../ffi/native.js';
import { ProcessRecords } from './process-record.js';
import { WalkMarks } from './walk-marks.js';

/** Processes of the whole machine that there is room for at first; it grows. */
const tableEntries = 1024;

const requestWords = new Int32Array(6);

/** What a tree looks for, as native/walk.h explains it. */
export interface Kin {
  /** While it was not waited for, else 0. */
  readonly leader: number;
  readonly slack: number;
  /** `NAME=value`. */
  readonly marker: Buffer;
  /** Members seen before, by pid. */
  readonly known: ReadonlyMap<number, KnownProcess>;
}

/** What a member was when it was seen last. */
export interface KnownProcess {
  /** Since boot. */
  readonly startTicks: number;
  readonly session: number;
}

/** Finds the processes of sessions in /proc, for the agent to which their orphans come. */
export class ProcessWalk {
  readonly marks: WalkMarks;
  /** Children of the agent that are no orphans: the leaders, and what serves the agent itself. */
  readonly #children = new Set<number>();
  #childWords = new Int32Array(16);
  #table = Buffer.allocUnsafeSlow(tableEntries * native.processRecordBytes);

  constructor(random: () => number = Math.random) {
    this.marks = new WalkMarks(random(), ownSlackNs());
  }

  /** Its children are no orphans that the agent has adopted. */
  own(pid: number): void {
    this.#children.add(pid);
  }

  disown(pid: number): void {
    this.#children.delete(pid);
  }

  /** The agent has adopted an orphan, whosever it is. */
  hasAdopted(): boolean {
    const result = native.hasAdopted(this.#foreign(), this.#children.size);
    if (result < 0) throw systemCallError('read', result, '/proc/self/task');
    return result === 1;
  }

  /** Valid until the next one. */
  members(kin: Kin): ProcessRecords {
    const foreign = this.#foreign();
    requestWords.set([
      process.pid,
      kin.leader,
      kin.slack,
      kin.marker.length,
      kin.known.size,
      this.#children.size,
    ]);
    const known = knownBytes(kin.known);
    for (;;) {
      const capacity = this.#table.length / native.processRecordBytes;
      const count = native.walk(requestWords, kin.marker, known, foreign, this.#table, capacity);
      if (count >= 0) return new ProcessRecords(this.#table, count);
      if (count !== -ENOBUFS) throw systemCallError('read', count, '/proc');
      this.#table = Buffer.allocUnsafeSlow(this.#table.length * 2);
    }
  }

  #foreign(): Int32Array {
    if (this.#childWords.length < this.#children.size)
      this.#childWords = new Int32Array(this.#children.size * 2);
    let at = 0;
    for (const pid of this.#children) this.#childWords[at++] = pid;
    return this.#childWords;
  }
}

/** Of this thread, which is the one that launches; 0 before Linux 4.6. */
function ownSlackNs(): number {
  try {
    return Number(readFileSync('/proc/self/timerslack_ns', 'latin1'));
  } catch {
    return 0;
  }
}

/** `struct known_process` of native/walk.h. */
function knownBytes(known: ReadonlyMap<number, KnownProcess>): Buffer {
  const bytes = Buffer.alloc(Math.max(1, known.size) * 16);
  let at = 0;
  for (const [pid, { startTicks, session }] of known) {
    bytes.writeUInt32LE(startTicks % 2 ** 32, at);
    bytes.writeUInt32LE(Math.floor(startTicks / 2 ** 32), at + 4);
    bytes.writeInt32LE(pid, at + 8);
    bytes.writeInt32LE(session, at + 12);
    at += 16;
  }
  return bytes;
}
