import type { Line } from '@hawser/protocol';
import { frameTypes, HawserError, headerBytes } from '@hawser/protocol';
import { DuplexLine } from './duplex-line.js';
import { connectUnix } from './socket-connection.js';

const readBufferBytes = 16 * 1024;
/** As a UART's line has it: a tenth of a second at 115,200 baud. */
const dataBytesPreferred = 1152;
/** The magic and the type of a frame in which an agent announces itself (PROTOCOL.md, "Frames"). */
const announcement = Buffer.from([0x48, 0x57, frameTypes.Ready.id]);

/**
 * The socket that QEMU gives a serial port, as a line, once the agent in the guest has announced itself.
 *
 * Nothing is written before: what is said to a port that nobody has opened yet stays in QEMU, or is echoed by
 * the guest's terminal, and has to be read at a serial port's pace by the agent that comes.
 *
 * @param spec the line's name, `unix:PATH`
 * @param quietMs after so long without an announcement it is taken for lost, and the line given out all the same
 */
export async function openAnnounced(spec: string, quietMs: number, signal: AbortSignal): Promise<Line> {
  const { socket, reader } = await connectUnix(spec.slice('unix:'.length), signal);
  let tail: Buffer = Buffer.alloc(0);
  const early = await new Promise<Buffer>((resolve, reject) => {
    const buffer = Buffer.alloc(readBufferBytes);
    const settle = (): void => {
      socket.pause();
      reader.detach();
      clearTimeout(timer);
      socket.off('close', ended);
      socket.off('error', ended);
      signal.removeEventListener('abort', aborted);
    };
    const ended = (): void => {
      settle();
      reject(new HawserError('line_closed', `${spec} was closed before an agent announced itself on it`));
    };
    const aborted = (): void => {
      settle();
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      settle();
      resolve(tail);
    }, quietMs);
    const received = (bytes: number): void => {
      const text = Buffer.concat([tail, buffer.subarray(0, bytes)]);
      const at = text.indexOf(announcement);
      // An announcement may come in two reads.
      tail = text.subarray(at < 0 ? Math.max(0, text.length - headerBytes) : at);
      if (at < 0) return;
      settle();
      resolve(tail);
    };
    reader.attach({ readBuffer: () => buffer, received });
    socket.on('close', ended);
    socket.on('error', ended);
    signal.addEventListener('abort', aborted);
    socket.resume();
  }).catch((error: unknown) => {
    socket.destroy();
    throw error;
  });
  return new DuplexLine(socket, {
    kind: 'unix',
    name: spec,
    mayCorrupt: true,
    dataBytesPreferred,
    reader,
    early: Buffer.concat([early, reader.takeKept()]),
  });
}
