import type { Line } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import type { OpenContext } from './connect-line.js';
import { DuplexLine } from './duplex-line.js';
import { connectUnix } from './socket-connection.js';

/** `unix:PATH` */
export async function openUnix(path: string, { spec, signal }: OpenContext): Promise<Line> {
  if (path === '') throw new HawserError('invalid_argument', `${spec} names no socket: unix:PATH`);
  const { socket, reader } = await connectUnix(path, signal);
  return new DuplexLine(socket, { kind: 'unix', name: spec, dataBytesPreferred: 128 * 1024, reader });
}
