import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** A Unix socket that passes every connection on to another, and counts the bytes each way. */
export class CountingProxy {
  #toAgent = 0;
  #toHost = 0;
  #sockets = new Set();

  static async listen(path, agentPath) {
    const proxy = new CountingProxy();
    proxy.path = path;
    proxy.server = createServer((host) => proxy.#pass(host, connect(agentPath))).listen(path);
    await once(proxy.server, 'listening');
    return proxy;
  }

  /** The counts, once nothing has passed for longer than an acknowledgement may be held back. */
  async settled() {
    for (;;) {
      const before = this.#toAgent + this.#toHost;
      await delay(150);
      if (this.#toAgent + this.#toHost === before) return { toAgent: this.#toAgent, toHost: this.#toHost };
    }
  }

  close() {
    this.server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #pass(host, agent) {
    host.on('data', (chunk) => (this.#toAgent += chunk.length)).pipe(agent);
    agent.on('data', (chunk) => (this.#toHost += chunk.length)).pipe(host);
    for (const socket of [host, agent]) {
      this.#sockets.add(socket);
      // Either end's fault ends both; whoever used the line reports it.
      socket.on('error', () => undefined);
      socket.on('close', () => {
        host.destroy();
        agent.destroy();
      });
    }
  }
}
