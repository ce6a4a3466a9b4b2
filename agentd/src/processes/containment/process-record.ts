import { isUtf8 } from 'node:buffer';
import { systemCallError } from '../../ffi/errno.js';
import * as native from '../../ffi/native.js';
import type { ProcessInfo } from './process-tree.js';

/** Bytes of all command lines in one listing; each process gets its share of that. */
const commandBytesAll = 2 * 1024 * 1024;
const commandBytesMax = 4096;
const commandBytesMin = 64;

/** USER_HZ: what /proc counts in is 1/100 s on every architecture that Hawser knows (proc_pid_stat(5)). */
const tickUs = 10_000;

/** The unit of resident memory in /proc. */
const pageBytes = native.pageBytes();

/** `struct process` of native/process_table.h, as it lies in a table of them. */
export class ProcessRecords {
  readonly bytes: Buffer;
  readonly count: number;
  readonly #view: DataView;

  /** @param bytes a table whose first `count` entries are filled; not copied. */
  constructor(bytes: Buffer, count: number) {
    this.bytes = bytes;
    this.count = count;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  pid(index: number): number {
    return this.#int(index, 0);
  }

  /** What setsid(2) makes. */
  session(index: number): number {
    return this.#int(index, 12);
  }

  /** With the pid, a process's name, unless a pid is used again within a tick. Ticks since boot. */
  startTicks(index: number): number {
    return this.#long(index, 24);
  }

  state(index: number): string {
    return String.fromCharCode(this.#int(index, 16));
  }

  /** Dead, whether or not its parent has waited for it. */
  isDead(index: number): boolean {
    const state = this.#int(index, 16);
    return state === 0x5a || state === 0x58; // Z, X
  }

  userUs(index: number): number {
    return this.#long(index, 32) * tickUs;
  }

  systemUs(index: number): number {
    return this.#long(index, 40) * tickUs;
  }

  rssBytes(index: number): number {
    return this.#long(index, 48) * pageBytes;
  }

  parent(index: number): number {
    return this.#int(index, 4);
  }

  threads(index: number): number {
    return this.#int(index, 20);
  }

  name(index: number): string {
    const at = index * native.processRecordBytes + 56;
    const end = this.bytes.indexOf(0, at);
    return this.bytes.toString('utf8', at, end);
  }

  #int(index: number, offset: number): number {
    return this.#view.getInt32(index * native.processRecordBytes + offset, true);
  }

  #long(index: number, offset: number): number {
    const at = index * native.processRecordBytes + offset;
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 2 ** 32;
  }
}

/** Reads the records of those of `pids` that there are. */
export function recordsOf(pids: Int32Array): ProcessRecords {
  const bytes = Buffer.allocUnsafe(Math.max(1, pids.length) * native.processRecordBytes);
  const count = native.processes(pids, pids.length, bytes);
  if (count < 0) throw systemCallError('open', count, '/proc');
  return new ProcessRecords(bytes, count);
}

/** The records, with the command line of each. */
export function describe(records: ProcessRecords): ProcessInfo[] {
  const { count } = records;
  if (count === 0) return [];
  const pids = Int32Array.from({ length: count }, (_, i) => records.pid(i));
  const each = Math.max(commandBytesMin, Math.min(commandBytesMax, Math.floor(commandBytesAll / count)));
  const lines = Buffer.allocUnsafe(count * each);
  const lengths = new Int32Array(count);
  const result = native.commandLines(pids, count, lines, each, lengths);
  if (result < 0) throw systemCallError('open', result, '/proc');
  const bootedAtUs = Date.now() * 1000 - native.uptimeUs();
  return Array.from({ length: count }, (_, i) => ({
    pid: records.pid(i),
    parentPid: records.parent(i),
    name: records.name(i),
    command: argumentsOf(lines.subarray(i * each, i * each + (lengths[i] as number))),
    commandCut: lengths[i] === each,
    state: records.state(i),
    threads: records.threads(i),
    cpuUserUs: records.userUs(i),
    cpuSystemUs: records.systemUs(i),
    rssBytes: records.rssBytes(i),
    startedAtUs: Math.round(bootedAtUs + records.startTicks(i) * tickUs),
  }));
}

/** NUL-terminated each; the last one may have lost its NUL. What is not UTF-8 stays bytes. */
function argumentsOf(line: Buffer): (string | Uint8Array)[] {
  const found: (string | Uint8Array)[] = [];
  for (let at = 0; at < line.length; ) {
    const nul = line.indexOf(0, at);
    const end = nul < 0 ? line.length : nul;
    const bytes = line.subarray(at, end);
    found.push(isUtf8(bytes) ? bytes.toString() : bytes);
    at = end + 1;
  }
  return found;
}
