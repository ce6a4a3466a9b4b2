import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { SocketReader } from './socket-reader.js';

export interface SocketConnection {
  /** Connected and paused. */
  readonly socket: Socket;
  readonly reader: SocketReader;
}

/** Connects to a Unix socket. Fails with the system's error, or with the signal's reason. */
export function connectUnix(path: string, signal: AbortSignal): Promise<SocketConnection> {
  return new Promise((resolve, reject) => {
    const reader = new SocketReader();
    const socket = connect({ path, onread: reader.onread });
    // Before the connection is there, or it would be read at once.
    socket.pause();
    const settle = (): void => {
      socket.off('error', fail);
      signal.removeEventListener('abort', abort);
    };
    const fail = (error: Error): void => {
      settle();
      socket.destroy();
      reject(error);
    };
    const abort = (): void => fail(signal.reason as Error);
    socket.on('error', fail);
    signal.addEventListener('abort', abort);
    socket.once('connect', () => {
      settle();
      resolve({ socket, reader });
    });
  });
}
