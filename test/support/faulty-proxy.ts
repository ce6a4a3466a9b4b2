import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** What happens when so many bytes were carried one way, over all connections. */
export type ProxyFault = { readonly at: number } & (
  | { readonly kind: 'flip' }
  | { readonly kind: 'drop'; readonly bytes: number }
  | { readonly kind: 'double'; readonly bytes: number }
  | { readonly kind: 'insert'; readonly bytes: Uint8Array }
  | { readonly kind: 'stall'; readonly ms: number }
  /** Nothing is carried any more in this direction, and nobody is told. */
  | { readonly kind: 'silence' }
  | { readonly kind: 'cut' }
);

export interface ProxyPlan {
  readonly toAgent: ProxyFault[];
  readonly toHost: ProxyFault[];
  /** Size of what is passed on at a time; whole chunks unless given. */
  readonly pieceBytes?: number | undefined;
}

/** A Unix socket in front of an agent's, between which things go wrong as planned: the same for the same plan. */
export class FaultyProxy implements AsyncDisposable {
  readonly line: string;
  connections = 0;
  readonly happened: string[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #target: string;
  readonly #plan: ProxyPlan;
  readonly #carried = { toAgent: 0, toHost: 0 };

  private constructor(server: Server, path: string, target: string, plan: ProxyPlan) {
    this.#server = server;
    this.line = `unix:${path}`;
    this.#target = target;
    this.#plan = plan;
  }

  /** @param target path of the agent's socket. */
  static async listen(path: string, target: string, plan: ProxyPlan): Promise<FaultyProxy> {
    const server = createServer((socket) => proxy.#accept(socket));
    const proxy = new FaultyProxy(server, path, target, plan);
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return proxy;
  }

  /** Lets everything pass from now on. */
  calm(): void {
    this.#plan.toAgent.length = this.#plan.toHost.length = 0;
  }

  /** Bytes carried so far, both ways. */
  get carriedBytes(): number {
    return this.#carried.toAgent + this.#carried.toHost;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#cut();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #accept(host: Socket): void {
    this.connections++;
    const agent = createConnection(this.#target);
    for (const socket of [host, agent]) {
      this.#sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => {
        this.#sockets.delete(socket);
        host.destroy();
        agent.destroy();
      });
    }
    void this.#carry('toAgent', host, agent);
    void this.#carry('toHost', agent, host);
  }

  async #carry(direction: 'toAgent' | 'toHost', from: Socket, to: Socket): Promise<void> {
    const silence = { on: false };
    try {
      for await (const chunk of from as AsyncIterable<Buffer>) {
        const size = this.#plan.pieceBytes ?? chunk.length;
        for (let at = 0; at < chunk.length; at += size) {
          const bytes = await this.#spoil(direction, chunk.subarray(at, at + size), silence);
          if (bytes === undefined) return;
          if (!silence.on && bytes.length > 0 && !to.write(bytes) && !to.destroyed) await drained(to);
        }
      }
    } catch {
      // Torn: the other socket is destroyed, too.
    }
  }

  /** @returns what arrives of `chunk`; nothing where the line is cut. */
  async #spoil(
    direction: 'toAgent' | 'toHost',
    chunk: Buffer,
    silence: { on: boolean },
  ): Promise<Buffer | undefined> {
    const parts: Uint8Array[] = [];
    const faults = this.#plan[direction];
    let rest = chunk;
    const take = (bytes: number): Buffer => {
      const part = rest.subarray(0, bytes);
      rest = rest.subarray(part.length);
      this.#carried[direction] += part.length;
      return part;
    };
    while (rest.length > 0) {
      const fault = faults[0];
      if (fault === undefined || fault.at > this.#carried[direction]) {
        parts.push(take(fault === undefined ? rest.length : fault.at - this.#carried[direction]));
        continue;
      }
      faults.shift();
      this.happened.push(`${direction} ${fault.kind}`);
      switch (fault.kind) {
        case 'cut':
          this.#cut();
          return undefined;
        case 'silence':
          silence.on = true;
          break;
        case 'stall':
          await delay(fault.ms);
          break;
        case 'flip': {
          const byte = Buffer.from(take(1));
          byte[0] = (byte[0] as number) ^ 0x10;
          parts.push(byte);
          break;
        }
        case 'drop':
          take(fault.bytes);
          break;
        case 'double': {
          const part = take(fault.bytes);
          parts.push(part, part);
          break;
        }
        case 'insert':
          parts.push(fault.bytes);
          break;
      }
    }
    return Buffer.concat(parts);
  }
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('drain', resolve);
    socket.once('close', resolve);
  });
}
