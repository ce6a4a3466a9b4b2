import { constants } from 'node:os';
import { HawserError } from '@hawser/protocol';
import { errnoName, loadKoffi } from './koffi.js';

/**
 * Locks that belong to an open file (fcntl_locking(2), "Open file description locks"): whoever holds
 * a copy of the descriptor holds the lock, across exec, and the kernel lets go of it with the last
 * copy, in whatever way its holders ended. They do not meet flock(2) locks.
 *
 * One byte far behind every file's end is locked: QEMU locks bytes from 100 on for its own purposes.
 */
const lockedByte = 1n << 62n;

const setLock = 37; // F_OFD_SETLK
const setLockWait = 38; // F_OFD_SETLKW
const readLock = 0; // F_RDLCK
const writeLock = 1; // F_WRLCK

export type LockMode = 'shared' | 'exclusive';

interface Libc {
  errno(): number;
  fcntl(fd: number, command: number, type: 'void *', lock: Uint8Array): number;
}

let loaded: Libc | undefined;

function libc(): Libc {
  if (loaded === undefined) {
    const ffi = loadKoffi('file locks need');
    loaded = {
      errno: () => ffi.errno(),
      fcntl: ffi.load(null).func('int fcntl(int fd, int command, ...)'),
    };
  }
  return loaded;
}

/**
 * Takes the lock without waiting.
 *
 * @param fd open for reading for `shared`, for writing for `exclusive`; it stays the caller's
 * @returns false when somebody else holds one that does not go with it
 */
export function tryLock(fd: number, mode: LockMode): boolean {
  const errno = lock(fd, setLock, mode);
  if (errno === 0) return true;
  if (errno === constants.errno.EAGAIN || errno === constants.errno.EACCES) return false;
  throw lockFailed(errno);
}

/** Takes the exclusive lock, and blocks this process until it is free: for sections that last milliseconds. */
export function lockAndWait(fd: number): void {
  for (;;) {
    const errno = lock(fd, setLockWait, 'exclusive');
    if (errno === 0) return;
    if (errno !== constants.errno.EINTR) throw lockFailed(errno);
  }
}

/** @returns 0 or an errno */
function lock(fd: number, command: number, mode: LockMode): number {
  const c = libc();
  return c.fcntl(fd, command, 'void *', flockStruct(mode)) < 0 ? c.errno() : 0;
}

/** struct flock with a 64-bit off_t: type, whence, 4 bytes of padding, start, length, pid (must be 0). */
function flockStruct(mode: LockMode): Uint8Array {
  const words = new BigInt64Array(4);
  const bytes = new Uint8Array(words.buffer);
  new Int16Array(words.buffer)[0] = mode === 'shared' ? readLock : writeLock;
  words[1] = lockedByte;
  words[2] = 1n;
  return bytes;
}

function lockFailed(errno: number): HawserError {
  const name = errnoName(errno);
  return new HawserError('system_call_failed', `fcntl(F_OFD_SETLK) failed with ${name}`, { errno: name });
}
