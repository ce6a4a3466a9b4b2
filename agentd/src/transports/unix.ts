import { lstatSync, unlinkSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Line } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import { errnoName } from '../ffi/errno.js';
import * as native from '../ffi/native.js';
import { Listener } from './listener.js';
import { pathBytes } from './path-bytes.js';
import { PolledLine } from './polled-line.js';
import type { Transport, TransportContext } from './transport.js';

/** Whoever may connect may run commands as the agent's user: its user only. */
const socketMode = 0o600;

interface FileIdentity {
  readonly dev: bigint;
  readonly ino: bigint;
}

/** `unix:PATH`: listens on a Unix socket. */
export class UnixTransport implements Transport {
  readonly name: string;
  readonly #path: string;
  readonly #context: TransportContext;
  #open: { listener: Listener; file: FileIdentity | undefined } | undefined;

  constructor(path: string, context: TransportContext) {
    this.name = context.name;
    if (path === '') throw new HawserError('invalid_config', `${this.name} names no socket: unix:PATH`);
    this.#path = resolve(path);
    this.#context = context;
  }

  start(onLine: (line: Line) => void, onError: (error: HawserError) => void): void {
    const { poller, clock } = this.#context;
    const fd = native.listenUnix(pathBytes(this.#path), socketMode);
    if (fd < 0) throw this.#error(errnoName(fd));
    const listener = new Listener(fd, {
      poller,
      clock,
      name: this.name,
      accepted: (peer, [, , , pid]) => onLine(this.#line(peer, pid)),
      failed: onError,
    });
    this.#open = { listener, file: identity(this.#path) };
  }

  stop(): void {
    const open = this.#open;
    if (open === undefined) return;
    this.#open = undefined;
    open.listener.close();
    // Somebody may have put another in its place since.
    const file = identity(this.#path);
    if (file !== undefined && file.ino === open.file?.ino && file.dev === open.file.dev)
      unlinkSync(this.#path);
  }

  close(): void {
    this.stop();
  }

  #line(fd: number, pid: bigint | undefined): PolledLine {
    return new PolledLine({
      poller: this.#context.poller,
      readFd: fd,
      kind: 'unix',
      name: `${this.name} (pid ${pid})`,
      mayCorrupt: false,
      dataBytesPreferred: 128 * 1024,
      release: () => void native.close(fd),
    });
  }

  #error(errno: string): HawserError {
    const why = errno === 'EADDRINUSE' ? 'another process listens there, or the file is no socket' : errno;
    return new HawserError('line_open_failed', `${this.name} cannot be opened: ${why}`, { errno });
  }
}

function identity(path: string): FileIdentity | undefined {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false });
}
