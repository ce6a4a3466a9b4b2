import { constants } from 'node:os';
import { HawserError } from '@hawser/protocol';

/** Those that Linux has and `os.constants.errno` lacks. */
const furtherErrnos: Readonly<Record<string, number>> = {
  ENOTBLK: 15,
  ELIBBAD: 80,
  EUSERS: 87,
  ESOCKTNOSUPPORT: 94,
  EPFNOSUPPORT: 96,
  ESHUTDOWN: 108,
  EHOSTDOWN: 112,
  EUCLEAN: 117,
  EREMOTEIO: 121,
  ENOMEDIUM: 123,
  EMEDIUMTYPE: 124,
  ENOKEY: 126,
  EOWNERDEAD: 130,
};

/** Two names for one number: the one that Linux documents. */
const aliases = new Set(['EWOULDBLOCK', 'ENOTSUP', 'EDEADLOCK']);

const names = new Map<number, string>();
for (const [name, number] of Object.entries({ ...furtherErrnos, ...constants.errno })) {
  if (!aliases.has(name)) names.set(number, name);
}

/** `2` or `-2` to `ENOENT`; a number without a name to `errno 4711`. */
export function errnoName(errno: number): string {
  const number = Math.abs(errno);
  return names.get(number) ?? `errno ${number}`;
}

/** Positive errno numbers that callers compare with; a native call returns their negative. */
export const {
  EACCES,
  EAGAIN,
  ECHILD,
  EBUSY,
  EBADF,
  EEXIST,
  EINVAL,
  EIO,
  EMFILE,
  EINTR,
  ENOBUFS,
  ENODEV,
  ENOENT,
  ENOEXEC,
  ENOTDIR,
  EPERM,
  EPIPE,
  E2BIG,
  ESRCH,
} = constants.errno;

/**
 * The error for a native call that returned a negative errno.
 *
 * @param name the system call, e.g. `epoll_ctl`
 * @param result what it returned: the negative errno
 * @param what the thing it was done to, e.g. `descriptor 7`
 */
export function systemCallError(name: string, result: number, what: string): HawserError {
  const errno = errnoName(result);
  return new HawserError('system_call_failed', `${name} failed with ${errno} (${what})`, { errno });
}
