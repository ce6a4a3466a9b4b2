import { createConnection, createServer, type Server, type Socket } from 'node:net';

/** A Unix socket in front of an agent's, whose connections the test may cut, or refuse. */
export class CuttableProxy implements AsyncDisposable {
  readonly line: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Nobody gets through: whoever connects is hung up on. */
  refusing = false;
  /** Connections that were let through so far. */
  connections = 0;
  /** Bytes that were carried, both ways together. */
  carriedBytes = 0;
  /** The socket that it leads to; may be changed. */
  target: string;
  #cutAt = Number.POSITIVE_INFINITY;

  private constructor(server: Server, path: string, target: string) {
    this.target = target;
    this.#server = server;
    this.line = `unix:${path}`;
  }

  /** @param target path of the agent's socket. */
  static async listen(path: string, target: string): Promise<CuttableProxy> {
    const server = createServer((socket) => proxy.#accept(socket));
    const proxy = new CuttableProxy(server, path, target);
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return proxy;
  }

  /** Tears every connection, with what is on its way. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
  }

  /** Cuts by itself when so many bytes more were carried; the rest of that piece is lost. */
  cutAfter(bytes: number): void {
    this.#cutAt = this.carriedBytes + bytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #accept(host: Socket): void {
    if (this.refusing) {
      host.destroy();
      return;
    }
    this.connections++;
    const agent = createConnection(this.target);
    for (const [from, to] of [
      [host, agent],
      [agent, host],
    ] as const) {
      this.#sockets.add(from);
      from.on('error', () => from.destroy());
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      from.on('data', (chunk) => this.#carry(chunk, from, to));
      to.on('drain', () => from.resume());
    }
  }

  #carry(chunk: Buffer, from: Socket, to: Socket): void {
    const left = this.#cutAt - this.carriedBytes;
    this.carriedBytes += chunk.length;
    if (left <= chunk.length) {
      this.#cutAt = Number.POSITIVE_INFINITY;
      // What was written reaches the other side before its end does.
      to.end(chunk.subarray(0, left));
      this.#sockets.delete(to);
      this.cut();
      return;
    }
    if (!to.write(chunk)) from.pause();
  }
}
