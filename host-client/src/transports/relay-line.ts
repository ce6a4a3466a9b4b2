import { lstatSync } from 'node:fs';
import type { Line } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import { isPrivate, relayPaths } from '../relay/relay-path.js';
import type { OpenLineOptions } from './connect-line.js';
import { openLine } from './connect-line.js';
import { openUnix } from './unix-line.js';

/**
 * The socket of the relay that shares a line, where there seems to be one. Only lines that one process can hold are
 * looked for: serial ports, and Unix sockets, which may be those of a serial port of QEMU's.
 */
export function relayOf(spec: string): string | undefined {
  if (!spec.startsWith('uart:') && !spec.startsWith('unix:')) return undefined;
  const { directory, socket } = relayPaths(spec);
  if (!isPrivate(directory)) return undefined;
  return lstatSync(socket, { throwIfNoEntry: false })?.isSocket() === true ? socket : undefined;
}

/** Connects to the relay at `socket`, as one of the clients of the line `spec`. */
export function openByRelay(spec: string, socket: string, options: OpenLineOptions): Promise<Line> {
  const kind = spec.slice(0, spec.indexOf(':'));
  return openLine(spec, options, {
    [kind]: (_rest, context) => openUnix(socket, { ...context, spec: `${spec} (relay unix:${socket})` }),
  });
}

/** Nobody listens on the socket: the relay was killed. */
export function isWithoutRelay(error: unknown): boolean {
  return error instanceof HawserError && (error.errno === 'ECONNREFUSED' || error.errno === 'ENOENT');
}
