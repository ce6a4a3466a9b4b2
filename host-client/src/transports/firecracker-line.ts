import type { Socket } from 'node:net';
import type { Line } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import type { OpenContext } from './connect-line.js';
import { DuplexLine } from './duplex-line.js';
import { connectUnix } from './socket-connection.js';
import type { SocketReader } from './socket-reader.js';
import { parsePort } from './vsock-line.js';

/** "OK " and a 32-bit number need 14 bytes with their newline; the rest is for what an error may say. */
const answerBytesMax = 256;
const newline = 0x0a;

/**
 * `firecracker:PATH:PORT`: the Unix socket of Firecracker's or Cloud Hypervisor's vsock device.
 *
 * The host says `CONNECT port\n`; the VMM answers `OK hostport\n` when the guest has accepted, and
 * closes the socket when nobody listens there (Firecracker, docs/vsock.md, "Host-Initiated
 * Connections"). What follows the newline is the guest's.
 */
export async function openFirecracker(rest: string, { spec, signal }: OpenContext): Promise<Line> {
  const colon = rest.lastIndexOf(':');
  const path = rest.slice(0, Math.max(0, colon));
  if (path === '') throw new HawserError('invalid_argument', `${spec} is not firecracker:PATH:PORT`);
  const port = parsePort(spec, rest.slice(colon + 1));
  const { socket, reader } = await connectUnix(path, signal);
  try {
    const behind = await connectPort(socket, reader, port, spec, signal);
    const early = Buffer.concat([behind, reader.takeKept()]);
    return new DuplexLine(socket, {
      kind: 'vsock',
      name: spec,
      dataBytesPreferred: 64 * 1024,
      reader,
      early,
    });
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** @returns what came behind the answer. The socket is paused again. */
function connectPort(
  socket: Socket,
  reader: SocketReader,
  port: number,
  spec: string,
  signal: AbortSignal,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const answer = Buffer.alloc(answerBytesMax);
    let filled = 0;
    const settle = (): void => {
      socket.pause();
      reader.detach();
      socket.off('error', errored);
      socket.off('end', ended);
      socket.off('close', ended);
      signal.removeEventListener('abort', aborted);
    };
    const fail = (why: string, errno?: string): void => {
      settle();
      reject(new HawserError('line_open_failed', `${spec} cannot be opened: ${why}`, { errno }));
    };
    const ended = (): void => {
      if (filled === 0) fail(`nobody in the guest listens on port ${port}`, 'ECONNREFUSED');
      else fail(`the VMM closed after ${JSON.stringify(answer.toString('latin1', 0, filled))}`);
    };
    const errored = (error: Error): void => {
      settle();
      reject(error);
    };
    const aborted = (): void => errored(signal.reason as Error);
    const received = (bytes: number): void => {
      filled += bytes;
      const end = answer.subarray(0, filled).indexOf(newline);
      if (end < 0 && filled < answerBytesMax) return;
      const text = answer.toString('latin1', 0, end < 0 ? filled : end);
      if (end < 0 || !/^OK \d+$/.test(text)) {
        fail(`to CONNECT ${port} the VMM answered ${JSON.stringify(text)}, not OK`);
        return;
      }
      settle();
      resolve(Buffer.from(answer.subarray(end + 1, filled)));
    };
    reader.attach({ readBuffer: () => answer.subarray(filled), received });
    socket.on('error', errored);
    socket.on('end', ended);
    socket.on('close', ended);
    signal.addEventListener('abort', aborted);
    socket.write(`CONNECT ${port}\n`);
    socket.resume();
  });
}
