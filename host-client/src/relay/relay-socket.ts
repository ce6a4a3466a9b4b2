import { closeSync, lstatSync, openSync, unlinkSync } from 'node:fs';
import type { Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import type { Line } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import { tryLock } from '../ffi/file-lock.js';
import { DuplexLine } from '../transports/duplex-line.js';

/** A lock on a name, held until it is closed or this process is gone. */
export class NameLock {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** @param taken what to say where another holds it. @throws HawserError `line_open_failed`, errno `EBUSY`. */
  static take(path: string, taken: string): NameLock {
    const fd = openSync(path, 'a+', 0o600);
    let locked = false;
    try {
      locked = tryLock(fd, 'exclusive');
      if (!locked) throw new HawserError('line_open_failed', taken, { errno: 'EBUSY' });
    } finally {
      if (!locked) closeSync(fd);
    }
    return new NameLock(fd);
  }

  /** The file stays: whoever waited for it must not lock one that is gone. */
  close(): void {
    closeSync(this.#fd);
  }
}

/** A listening Unix socket of this user's own. Owns its file, which goes with it. */
export class RelaySocket {
  readonly path: string;
  readonly #server: Server;
  readonly #ino: bigint | undefined;

  private constructor(path: string, server: Server) {
    this.path = path;
    this.#server = server;
    this.#ino = inodeOf(path);
  }

  /**
   * Listens at `path`, in place of a socket that nobody listens on any more.
   *
   * @throws HawserError `line_open_failed` where somebody does, or something else is there.
   */
  static async listen(path: string, accepted: (line: Line) => void): Promise<RelaySocket> {
    await removeStale(path);
    const server = createServer((socket) => accepted(clientLine(path, socket)));
    const listening = new Promise<void>((resolve, reject) => {
      server.once('listening', resolve);
      // Later ones are of single clients that could not be accepted, for want of descriptors: these try again.
      server.on('error', reject);
    });
    // From the first moment on nobody else may connect. The mask is the process's, and binding is synchronous.
    const mask = process.umask(0o177);
    try {
      server.listen(path);
    } finally {
      process.umask(mask);
    }
    await listening.catch((cause: NodeJS.ErrnoException) => {
      const text = `unix:${path} cannot be listened on: ${cause.message}`;
      throw new HawserError('line_open_failed', text, { errno: cause.code, cause });
    });
    return new RelaySocket(path, server);
  }

  /** Accepts nobody any more. */
  close(): void {
    // Somebody may have put another in its place since.
    if (this.#ino !== undefined && inodeOf(this.path) === this.#ino) unlinkSync(this.path);
    this.#server.close();
  }
}

function clientLine(path: string, socket: Socket): Line {
  return new DuplexLine(socket, {
    kind: 'unix',
    name: `a client of unix:${path}`,
    dataBytesPreferred: 128 * 1024,
  });
}

function inodeOf(path: string): bigint | undefined {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false })?.ino;
}

async function removeStale(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  const inUse = (what: string): HawserError =>
    new HawserError('line_open_failed', `unix:${path} cannot be listened on: ${what}`, {
      errno: 'EADDRINUSE',
    });
  if (!stat.isSocket()) throw inUse('the file is no socket');
  if (await isAnswered(path)) throw inUse('another process listens there');
  unlinkSync(path);
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      socket.destroy();
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT');
    });
  });
}
