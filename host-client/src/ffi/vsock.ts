import type { OnReadOpts, SocketConstructorOpts } from 'node:net';
import { Socket } from 'node:net';
import { constants } from 'node:os';
import { HawserError } from '@hawser/protocol';
import { errnoName, loadKoffi } from './koffi.js';

/**
 * AF_VSOCK, of which Node knows nothing, through libc. Only this module needs koffi, an optional
 * peer dependency, and it is loaded only for a `vsock:` line.
 */

const afUnix = 1;
const afVsock = 40;
const sockStream = 1;
const solSocket = 1;
const soError = 4;
const pollOut = 4;
const closeOnExec = 0o2000000;
const nonBlocking = 0o4000;

interface Libc {
  errno(): number;
  socket(family: number, type: number, protocol: number): number;
  socketpair(family: number, type: number, protocol: number, out: Int32Array): number;
  connect(fd: number, address: Uint8Array, bytes: number): number;
  poll(fds: Uint8Array, count: number, timeoutMs: number): number;
  getsockopt(fd: number, level: number, name: number, out: Int32Array, bytes: Int32Array): number;
  dup3(from: number, to: number, flags: number): number;
  close(fd: number): number;
}

let loaded: Libc | undefined;

function libc(): Libc {
  loaded ??= load();
  return loaded;
}

function load(): Libc {
  const ffi = loadKoffi('vsock: lines need');
  // The process itself: Node is linked with the libc that is there, glibc or musl.
  const library = ffi.load(null);
  return {
    errno: () => ffi.errno(),
    socket: library.func('int socket(int family, int type, int protocol)'),
    socketpair: library.func('int socketpair(int family, int type, int protocol, void *out)'),
    connect: library.func('int connect(int fd, const void *address, uint32_t bytes)'),
    poll: library.func('int poll(void *fds, unsigned long count, int timeout)'),
    getsockopt: library.func('int getsockopt(int fd, int level, int name, void *out, void *bytes)'),
    dup3: library.func('int dup3(int from, int to, int flags)'),
    close: library.func('int close(int fd)'),
  };
}

function failed(call: string, errno: number, what: string): HawserError {
  const name = errnoName(errno);
  return new HawserError('line_open_failed', `${what} cannot be opened: ${call} failed with ${name}`, {
    errno: name,
  });
}

/** struct sockaddr_vm (Linux, vm_sockets.h): family, two reserved bytes, port, CID, all in the host's byte order. */
function vsockAddress(cid: number, port: number): Uint8Array {
  const address = Buffer.alloc(16);
  const words = new DataView(address.buffer, address.byteOffset);
  const little = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
  words.setUint16(0, afVsock, little);
  words.setUint32(4, port, little);
  words.setUint32(8, cid, little);
  return address;
}

/** A connection in the making. Whoever begins one closes it, or takes its descriptor. */
export class VsockAttempt {
  readonly #what: string;
  #fd: number;

  private constructor(fd: number, what: string) {
    this.#fd = fd;
    this.#what = what;
  }

  /** @param what for messages, e.g. `vsock:3:1024` */
  static begin(cid: number, port: number, what: string): VsockAttempt {
    const c = libc();
    const fd = c.socket(afVsock, sockStream | nonBlocking | closeOnExec, 0);
    if (fd < 0) throw failed('socket', c.errno(), what);
    const address = vsockAddress(cid, port);
    if (c.connect(fd, address, address.length) < 0 && c.errno() !== constants.errno.EINPROGRESS) {
      const errno = c.errno();
      c.close(fd);
      throw failed('connect', errno, what);
    }
    return new VsockAttempt(fd, what);
  }

  /** Throws when the attempt has failed. */
  connected(): boolean {
    const c = libc();
    // struct pollfd: descriptor, events, events that are there.
    const entry = new Int32Array([this.#fd, 0]);
    const events = new Int16Array(entry.buffer, 4);
    events[0] = pollOut;
    if (c.poll(new Uint8Array(entry.buffer), 1, 0) <= 0) return false;
    const error = new Int32Array(1);
    c.getsockopt(this.#fd, solSocket, soError, error, new Int32Array([4]));
    if (error[0] !== 0) throw failed('connect', error[0] as number, this.#what);
    return true;
  }

  /** The descriptor, which is the caller's from now on. */
  take(): number {
    const fd = this.#fd;
    this.#fd = -1;
    return fd;
  }

  close(): void {
    if (this.#fd >= 0) libc().close(this.take());
  }
}

/**
 * Makes a `net.Socket`, paused, of any stream descriptor that epoll takes. The descriptor must be
 * non-blocking, and is the socket's from now on.
 *
 * `net.Socket` refuses kinds that it does not know. So it is given one end of a socket pair, and
 * before libuv has registered that number with epoll, which it does at the next turn of the loop,
 * the descriptor is put in its place. Everything here happens in one turn.
 */
export function adoptSocket(fd: number, options: { onread: OnReadOpts }): Socket {
  const c = libc();
  const pair = new Int32Array(2);
  if (c.socketpair(afUnix, sockStream | nonBlocking | closeOnExec, 0, pair) < 0) {
    const errno = c.errno();
    c.close(fd);
    throw failed('socketpair', errno, `descriptor ${fd}`);
  }
  const [number, other] = pair as unknown as [number, number];
  // `manualStart` is not in the types: the socket does not begin to read by itself.
  const given: SocketConstructorOpts & { manualStart: true } = { fd: number, manualStart: true, ...options };
  const socket = new Socket(given);
  socket.pause();
  const replaced = c.dup3(fd, number, closeOnExec);
  const errno = c.errno();
  c.close(other);
  c.close(fd);
  if (replaced < 0) {
    socket.destroy();
    throw failed('dup3', errno, `descriptor ${fd}`);
  }
  return socket;
}
