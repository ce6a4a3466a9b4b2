import { once } from 'node:events';
import type { Server, Socket } from 'node:net';

/** Resolves when the server listens on the socket; rejects with the system's error. */
export async function listen(server: Server, path: string): Promise<void> {
  server.listen(path);
  await once(server, 'listening');
}

export async function nextConnection(server: Server): Promise<Socket> {
  const [socket] = (await once(server, 'connection')) as [Socket];
  return socket;
}
