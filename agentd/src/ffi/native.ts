import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HawserError } from '@hawser/protocol';
import type koffi from 'koffi';

/**
 * libhawser, the C library in `agentd/native/`, function by function. Nothing here throws: a
 * negative result is a negative errno, see `systemCallError`. Memory passed in is used during the
 * call only. Paths are NUL-terminated bytes.
 *
 * What every start and every command needs comes through Node-API (`addon`, native/node_api.c); the
 * rest through koffi (`library`), which is loaded with the first call of one of those: it would take
 * a tenth of the agent's start.
 */

const libraryName = 'libhawser.so';

/** From source and from `dist/` the module is two folders below the package, bundled it is one. */
function libraryPath(): string {
  const given = process.env['HAWSER_NATIVE'];
  if (given !== undefined && given !== '') return given;
  // A bundle to CommonJS, as in a single executable, has no module URL.
  const url: string | undefined = import.meta.url;
  const here = url === undefined ? dirname(process.execPath) : dirname(fileURLToPath(url));
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
    const ffi = createRequire(import.meta.url)('koffi') as typeof koffi;
    return ffi.load(path).func(prototype) as NativeFunction;
  } catch (cause) {
    throw cannotLoad(cause);
  }
}

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

export const launch = addon['launch'] as (
  request: Uint8Array,
  requestBytes: number,
  out: Int32Array,
) => number;

export const launchRelease = addon['launchRelease'] as (handle: LaunchHandle) => number;

/** Length of the `out` array of `waitPidfd`; its positions are in `processes/exit-status.ts`. */
export const waitOutLength = 11;

/** 1: reaped, and `out` filled. 0: still running. */
export const waitPidfd = addon['waitPidfd'] as (pidfd: number, out: Float64Array) => number;

/** The pid of some zombie child, which stays one, or 0. */
export const nextZombie = library.func('int32_t hawser_next_zombie()') as () => number;

/** 1: reaped. 0: still running. */
export const reap = library.func('int32_t hawser_reap(int32_t pid)') as (pid: number) => number;

export const signalPidfd = addon['signalPidfd'] as (pidfd: number, signal: number) => number;

/** A negative pid is a process group. */
export const kill = addon['kill'] as (pid: number, signal: number) => number;

/** Pairs are soft and hard; no limit is 2^64 - 1. */
export const prlimit = addon['prlimit'] as (
  pid: number,
  resource: number,
  newPair: BigUint64Array | null,
  oldPair: BigUint64Array | null,
) => number;

export const becomeSubreaper = library.func('int32_t hawser_become_subreaper()') as () => number;

export const read = addon['read'] as (
  fd: number,
  buffer: Uint8Array,
  offset: number,
  length: number,
) => number;

/** Writes `head` and then `body` in one call; returns how much the kernel took. */
export const write2 = addon['write2'] as (
  fd: number,
  head: Uint8Array,
  headOffset: number,
  headLength: number,
  body: Uint8Array | null,
  bodyOffset: number,
  bodyLength: number,
) => number;

/** Fills the buffer with random bytes. Without node:crypto, whose load takes a tenth of the agent's start. */
export const random = addon['random'] as (buffer: Uint8Array, bytes: number) => number;

/** Bytes that a read would give at once. */
export const available = addon['available'] as (fd: number) => number;

export const close = addon['close'] as (fd: number) => number;

/** Close-on-exec always. */
export const open = addon['open'] as (path: Uint8Array, flags: number, mode: number) => number;

export const setNonblock = addon['setNonblock'] as (fd: number) => number;

export const setCloexec = addon['setCloexec'] as (fd: number) => number;

/** Close-on-exec always. */
export const dup3 = library.func('int32_t hawser_dup3(int32_t from, int32_t to)') as (
  from: number,
  to: number,
) => number;

/** The same open file under another number, close-on-exec. */
export const duplicate = addon['duplicate'] as (fd: number) => number;

/** The capacity of a pipe, after setting it where `bytes` is not 0. */
export const pipeCapacity = addon['pipeCapacity'] as (fd: number, bytes: number) => number;

export const foregroundGroup = addon['foregroundGroup'] as (fd: number) => number;

/** The character that ends input, 0 where it is disabled, -EINVAL outside canonical mode. */
export const terminalEof = addon['terminalEof'] as (fd: number) => number;

/** `out`: columns, rows, width and height in pixels. */
export const windowSize = addon['windowSize'] as (fd: number, out: Uint16Array) => number;

export const setWindowSize = addon['setWindowSize'] as (
  fd: number,
  columns: number,
  rows: number,
  xpixel: number,
  ypixel: number,
) => number;

export const listenUnix = addon['listenUnix'] as (path: Uint8Array, mode: number) => number;

export const listenVsock = library.func('int32_t hawser_listen_vsock(uint32_t port)') as (
  port: number,
) => number;

/** `peer` (4): address family; cid and port for vsock; uid, gid, pid for a Unix socket. */
export const accept = addon['accept'] as (listener: number, peer: BigInt64Array) => number;

export const socketpair = library.func('int32_t hawser_socketpair(void *out)') as (out: Int32Array) => number;

export const epollControl = addon['epollControl'] as (
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
export const pollerOpen = addon['pollerOpen'] as (
  events: Uint32Array,
  callback: (count: number) => void,
) => number;

export const pollerClose = addon['pollerClose'] as (epoll: number) => number;
