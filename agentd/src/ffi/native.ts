import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { HawserError } from '@hawser/protocol';
import type koffi from 'koffi';
import { lateRequire } from './late-require.js';

/**
 * libhawser, the C library in `agentd/native/`, function by function. Nothing here throws: a
 * negative result is a negative errno, see `systemCallError`. Memory passed in is used during the
 * call only. Paths are NUL-terminated bytes.
 *
 * What a start, a command and its end need comes through Node-API (`added`, native/node_api.c); what is asked
 * rarely through koffi (`library`), which is loaded with the first such call: it would take a tenth of the agent's
 * start, and has to be found and read, so that what ends processes or the machine does not depend on it.
 */

const libraryName = 'libhawser.so';

/** From source and from `dist/` the module is two folders below the package, bundled it is one. */
function libraryPath(): string {
  const given = process.env['HAWSER_NATIVE'];
  if (given !== undefined && given !== '') return given;
  // A bundle to CommonJS, as in a single executable, has no module folder.
  const folder: string | undefined = import.meta.dirname;
  const here = folder ?? dirname(process.execPath);
  const places = ['.', '../native/build', '../../native/build'].map((place) =>
    resolve(here, place, libraryName),
  );
  const found = places.find((place) => existsSync(place));
  if (found !== undefined) return found;
  throw new HawserError(
    'missing_dependency',
    `${libraryName} was not found in ${places.join(', ')}; run make -C agentd/native, or set HAWSER_NATIVE`,
  );
}

const path = libraryPath();

function cannotLoad(cause: unknown): HawserError {
  return new HawserError('missing_dependency', `${path} cannot be loaded: ${String(cause)}`, { cause });
}

function loadAddon(): Record<string, unknown> {
  const module = { exports: {} };
  try {
    process.dlopen(module, path);
  } catch (cause) {
    throw cannotLoad(cause);
  }
  return module.exports;
}

const addon = loadAddon();

/** What the library offers through Node-API, by its name in node_api.c; a library of another build may lack it. */
export function added(name: string): unknown {
  const found = addon[name];
  if (found === undefined)
    throw cannotLoad(`it has no function ${name}: make -C agentd/native makes one that has`);
  return found;
}

type NativeFunction = (...values: unknown[]) => unknown;

/** What is called rarely, by its C prototype. */
export const library = {
  /** The function of that C prototype. */
  func(prototype: string): NativeFunction {
    let found: NativeFunction | undefined;
    return (...values) => (found ??= loadFunction(prototype))(...values);
  },
};

function loadFunction(prototype: string): NativeFunction {
  try {
    const ffi = lateRequire('koffi') as typeof koffi;
    return ffi.load(path).func(prototype) as NativeFunction;
  } catch (cause) {
    throw cannotLoad(cause);
  }
}

/** The folder that the library lies in, and its companion, `hawser-watchdog`, with it. */
export const nativeFolder = dirname(path);

/** `handle` of a launch until it is released. */
export type LaunchHandle = number;

/** Positions in the `out` array of `launch`. */
export const launchOut = {
  pid: 0,
  pidfd: 1,
  status: 2,
  stdin: 3,
  stdout: 4,
  stderr: 5,
  stage: 6,
  handle: 7,
} as const;
export const launchOutLength = 8;

export const launch = added('launch') as (
  request: Uint8Array,
  requestBytes: number,
  out: Int32Array,
) => number;

export const launchRelease = added('launchRelease') as (handle: LaunchHandle) => number;

/** Makes the pipes of the next launch; a negative errno where that is not possible now. */
export const launchAhead = added('launchAhead') as () => number;

/** Length of the `out` array of `waitPidfd`; its positions are in `processes/exit-status.ts`. */
export const waitOutLength = 11;

/** 1: reaped, and `out` filled. 0: still running. */
export const waitPidfd = added('waitPidfd') as (pidfd: number, out: Float64Array) => number;

/** The pid of some zombie child, which stays one, or 0. */
export const nextZombie = added('nextZombie') as () => number;

/** 1: reaped. 0: still running. */
export const reap = added('reap') as (pid: number) => number;

export const signalPidfd = added('signalPidfd') as (pidfd: number, signal: number) => number;

/** A negative pid is a process group. */
export const kill = added('kill') as (pid: number, signal: number) => number;

/** Pairs are soft and hard; no limit is 2^64 - 1. */
export const prlimit = added('prlimit') as (
  pid: number,
  resource: number,
  newPair: BigUint64Array | null,
  oldPair: BigUint64Array | null,
) => number;

export const becomeSubreaper = added('becomeSubreaper') as () => number;

/** The scheduler lets this thread go first when it is woken; what it starts has the usual slices. Changes nothing before Linux 6.12. */
export const shortenSlices = added('shortenSlices') as () => number;

/** Whoever waits for this processor goes first. */
export const yieldProcessor = added('yieldProcessor') as () => number;

export const read = added('read') as (
  fd: number,
  buffer: Uint8Array,
  offset: number,
  length: number,
) => number;

/** Writes `head` and then `body` in one call; returns how much the kernel took. */
export const write2 = added('write2') as (
  fd: number,
  head: Uint8Array,
  headOffset: number,
  headLength: number,
  body: Uint8Array | null,
  bodyOffset: number,
  bodyLength: number,
) => number;

/** Fills the buffer with random bytes. Without node:crypto, whose load takes a tenth of the agent's start. */
export const random = added('random') as (buffer: Uint8Array, bytes: number) => number;

/** Bytes that a read would give at once. */
export const available = added('available') as (fd: number) => number;

export const close = added('close') as (fd: number) => number;

/** Close-on-exec always. */
export const open = added('open') as (path: Uint8Array, flags: number, mode: number) => number;

export const setNonblock = added('setNonblock') as (fd: number) => number;

export const setCloexec = added('setCloexec') as (fd: number) => number;

/** Close-on-exec always. */
export const dup3 = added('dup3') as (from: number, to: number) => number;

/** The same open file under another number, close-on-exec. */
export const duplicate = added('duplicate') as (fd: number) => number;

/** The capacity of a pipe, after setting it where `bytes` is not 0. */
export const pipeCapacity = added('pipeCapacity') as (fd: number, bytes: number) => number;

export const foregroundGroup = added('foregroundGroup') as (fd: number) => number;

/** The character that ends input, 0 where it is disabled, -EINVAL outside canonical mode. */
export const terminalEof = added('terminalEof') as (fd: number) => number;

/** `out`: columns, rows, width and height in pixels. */
export const windowSize = added('windowSize') as (fd: number, out: Uint16Array) => number;

export const setWindowSize = added('setWindowSize') as (
  fd: number,
  columns: number,
  rows: number,
  xpixel: number,
  ypixel: number,
) => number;

export const listenUnix = added('listenUnix') as (path: Uint8Array, mode: number) => number;

export const listenVsock = added('listenVsock') as (port: number) => number;

/** `peer` (4): address family; cid and port for vsock; uid, gid, pid for a Unix socket. */
export const accept = added('accept') as (listener: number, peer: BigInt64Array) => number;

export const socketpair = library.func('int32_t hawser_socketpair(void *out)') as (out: Int32Array) => number;

/** Descriptors for more sessions and lines; below 0 those are touched that are kept for ending what runs. */
export const descriptorsToSpare = added('descriptorsToSpare') as () => number;

export const epollControl = added('epollControl') as (
  epoll: number,
  operation: number,
  fd: number,
  events: number,
  generation: number,
) => number;

/** Events that one wake gives at most, with three words each: descriptor, generation, events. */
export const epollEventsMax = 64;

/**
 * An epoll descriptor that wakes the event loop when something in it is ready: `callback` is told how
 * many events there are, which are in `events` (`3 * epollEventsMax` words) until it returns.
 *
 * @returns the descriptor, which keeps the process alive until `pollerClose`.
 */
export const pollerOpen = added('pollerOpen') as (
  events: Uint32Array,
  callback: (count: number) => void,
) => number;

export const pollerClose = added('pollerClose') as (epoll: number) => number;
// cgroups and /proc

/** Reads a file below an open directory, from its beginning; the bytes read. `name` is NUL-terminated. */
export const readAt = added('readAt') as (
  directory: number,
  name: Uint8Array,
  buffer: Uint8Array,
  capacity: number,
) => number;

/** Writes to a file below an open directory, in one write. `name` is NUL-terminated. */
export const writeAt = added('writeAt') as (
  directory: number,
  name: Uint8Array,
  bytes: Uint8Array,
  count: number,
) => number;

/** Opens a file below an open directory, to read. `name` is NUL-terminated. */
export const openAt = added('openAt') as (directory: number, name: Uint8Array) => number;

/** Opens a directory below an open one (or -100, AT_FDCWD); `make` 1 makes it, and gives -EEXIST where it is there. */
export const openDirectory = added('openDirectory') as (
  parent: number,
  path: Uint8Array,
  make: 0 | 1,
) => number;

/** flock(2), exclusive, without waiting: -EAGAIN where another process has it. */
export const lock = added('lock') as (fd: number) => number;

/** Removes a cgroup and those below it; -EBUSY while there are processes. */
export const cgroupRemove = added('cgroupRemove') as (parent: number, name: Uint8Array) => number;

/** What an open cgroup.events says: 1, populated; 2, frozen; their sum. */
export const cgroupEvents = added('cgroupEvents') as (fd: number) => number;

/** CPU time of an open cpu.stat: `times` gets that in user mode and that in the kernel, microseconds. */
export const cgroupCpu = added('cgroupCpu') as (fd: number, times: Float64Array) => number;

/** The live processes of a cgroup and those below it: how many, -ENOBUFS beyond `capacity`. */
export const cgroupPids = added('cgroupPids') as (
  directory: number,
  out: Int32Array,
  capacity: number,
) => number;

/** Signals those of `pids` that are members: how many. `capacity`: members that there may be at all. */
export const cgroupSignal = added('cgroupSignal') as (
  directory: number,
  pids: Int32Array,
  count: number,
  signal: number,
  capacity: number,
) => number;

/** Size of `struct process`, native/process_table.h. */
export const processRecordBytes = 72;

/** The records of those of `pids` that there are: how many. */
export const processes = library.func(
  'int32_t hawser_processes(const void *pids, int32_t count, void *out)',
) as (pids: Int32Array, count: number, out: Uint8Array) => number;

/** The command lines of processes, in `each` bytes of `out` for each. */
export const commandLines = library.func(
  'int32_t hawser_command_lines(const void *pids, int32_t count, void *out, int32_t each, void *lengths)',
) as (pids: Int32Array, count: number, out: Uint8Array, each: number, lengths: Int32Array) => number;

/** The members of a tree by kinship and marks: how many records, -ENOBUFS beyond `capacity` processes in all. */
export const walk = added('walk') as (
  request: Int32Array,
  marker: Uint8Array,
  known: Uint8Array,
  foreign: Int32Array,
  out: Uint8Array,
  capacity: number,
) => number;

/** Signals the processes of `count` records: how many were still there. */
export const signalProcesses = added('signalProcesses') as (
  records: Uint8Array,
  count: number,
  signal: number,
) => number;

/** 1 when this process has children that are not among `foreign`. */
export const hasAdopted = added('hasAdopted') as (foreign: Int32Array, count: number) => number;

/** pidfd_open(2), close-on-exec. */
export const openPidfd = added('openPidfd') as (pid: number) => number;

export const pageBytes = added('pageBytes') as () => number;

/** Microseconds since boot, suspension included (CLOCK_BOOTTIME): what start times are counted on. */
export const uptimeUs = library.func('int64_t hawser_uptime_us()') as () => number;
