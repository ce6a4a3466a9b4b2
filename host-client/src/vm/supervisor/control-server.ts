import type { Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import { listen } from '../hypervisors/listening-socket.js';
import type { VmEnd } from '../vm-end.js';
import type { ControlReply, ControlRequest, ControlStatus } from './control-protocol.js';
import { toPlainError } from './control-protocol.js';
import { JsonLines } from './json-lines.js';

/** A client that does not read is not waited for longer. */
const farewellMs = 1000;

/** Answers requests, each client's in order, and tells all of them the end. */
export class ControlServer {
  readonly #server: Server;
  readonly #clients = new Set<Socket>();
  readonly #handle: (request: ControlRequest) => Promise<ControlStatus | null>;

  constructor(handle: (request: ControlRequest) => Promise<ControlStatus | null>) {
    this.#handle = handle;
    this.#server = createServer((socket) => this.#serve(socket));
  }

  async listen(path: string): Promise<void> {
    await listen(this.#server, path);
  }

  /** Tells everybody, and resolves when they have been told. */
  async end(end: VmEnd): Promise<void> {
    this.#server.close();
    await Promise.all([...this.#clients].map((socket) => farewell(socket, { ended: end })));
  }

  #serve(socket: Socket): void {
    this.#clients.add(socket);
    let previous: Promise<void> = Promise.resolve();
    const lines = new JsonLines((value) => {
      previous = previous.then(() => this.#answer(socket, value as ControlRequest));
    });
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => {
      try {
        lines.push(chunk);
      } catch {
        socket.destroy(); // no client of ours
      }
    });
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => this.#clients.delete(socket));
  }

  async #answer(socket: Socket, request: ControlRequest): Promise<void> {
    let reply: ControlReply;
    try {
      reply = { ok: await this.#handle(request) };
    } catch (error) {
      reply = { error: toPlainError(error) };
    }
    if (socket.writable) socket.write(`${JSON.stringify(reply)}\n`);
  }
}

function farewell(socket: Socket, reply: ControlReply): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => socket.destroy(), farewellMs);
    socket.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
    if (!socket.writable) socket.destroy();
    else socket.end(`${JSON.stringify(reply)}\n`, () => socket.destroy());
  });
}
