import { createReadStream, createWriteStream } from 'node:fs';
import type { Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { HawserError } from '@hawser/protocol';
import type { VmPlan } from '../vm-plan.js';
import { vmFiles } from './guest-lines.js';
import type { AgentPort, GuestEnd, Hypervisor } from './hypervisor.js';
import { listen, nextConnection } from './listening-socket.js';
import { qemuArguments } from './qemu-arguments.js';
import type { QmpEvent } from './qmp-client.js';
import { QmpClient } from './qmp-client.js';

const memoryFile = 'memory';
const migrationSocket = 'migration.sock';
/** QEMU's default is 1 Gbit/s, meant for a network. */
const migrationBytesPerSecond = 64 * 1024 ** 3;

/**
 * QEMU, through its machine protocol. QEMU connects to a socket that is listened on here, so that nothing has to be
 * tried again; its CPUs do not run before that connection is there, so that no event is missed.
 *
 * Memory is saved and restored as a migration through a Unix socket; there is no `exec:`, since QEMU's sandbox may
 * not start programs.
 */
export class Qemu implements Hypervisor {
  readonly args: readonly string[];
  readonly #plan: VmPlan;
  readonly #directory: string;
  #server: Server | undefined;
  #qmp: QmpClient | undefined;
  #guestEnd: GuestEnd | undefined;
  #agentPort: AgentPort;
  #migration: ((status: string) => void) | undefined;

  constructor(plan: VmPlan, directory: string) {
    this.#plan = plan;
    this.#directory = directory;
    this.args = qemuArguments(plan, directory);
    this.#agentPort = plan.lines.includes('virtio') ? 'closed' : 'unknown';
  }

  get guestEnd(): GuestEnd | undefined {
    return this.#guestEnd;
  }

  get agentPort(): AgentPort {
    return this.#agentPort;
  }

  async prepare(): Promise<void> {
    this.#server = createServer();
    await listen(this.#server, join(this.#directory, vmFiles.api));
  }

  async boot(exited: Promise<never>): Promise<void> {
    const server = this.#server as Server;
    const socket = await Promise.race([nextConnection(server), exited]);
    server.close();
    this.#qmp = new QmpClient(socket, (event) => this.#event(event));
    await Promise.race([this.#qmp.negotiate(), exited]);
    if (this.#plan.restoreFrom !== undefined)
      await Promise.race([this.#load(this.#plan.restoreFrom), exited]);
    await this.resume();
  }

  async pause(): Promise<void> {
    await this.#monitor.execute('stop');
  }

  async resume(): Promise<void> {
    await this.#monitor.execute('cont');
  }

  async save(directory: string): Promise<void> {
    const server = createServer();
    await listen(server, join(this.#directory, migrationSocket));
    try {
      await this.#watchMigration(async () => {
        await this.#monitor.execute('migrate-set-parameters', { 'max-bandwidth': migrationBytesPerSecond });
        await this.#monitor.execute('migrate', { uri: `unix:${migrationSocket}` });
        await pipeline(
          await nextConnection(server),
          createWriteStream(join(directory, memoryFile), { mode: 0o600 }),
        );
      });
    } finally {
      server.close(); // and removes the socket
    }
  }

  close(): void {
    this.#server?.close();
    this.#qmp?.close();
  }

  get #monitor(): QmpClient {
    if (this.#qmp === undefined) throw new HawserError('internal', "QEMU's monitor is not there yet");
    return this.#qmp;
  }

  async #load(directory: string): Promise<void> {
    await this.#watchMigration(async () => {
      await this.#monitor.execute('migrate-incoming', { uri: `unix:${migrationSocket}` });
      const socket: Socket = connect(join(this.#directory, migrationSocket));
      await pipeline(createReadStream(join(directory, memoryFile)), socket).catch((error: unknown) => {
        // QEMU hangs up when it has read what it needs, which may be before we do; whether that was all, its event says.
        if (!hungUp.has(String((error as NodeJS.ErrnoException).code))) throw error;
      });
    });
  }

  /** Runs `transfer`, and waits until QEMU says that the migration is over. */
  async #watchMigration(transfer: () => Promise<void>): Promise<void> {
    const over = new Promise<string>((resolve) => (this.#migration = resolve));
    try {
      await this.#monitor.execute('migrate-set-capabilities', {
        capabilities: [{ capability: 'events', state: true }],
      });
      await Promise.all([over.then((status) => this.#checkMigration(status)), transfer()]);
    } finally {
      this.#migration = undefined;
    }
  }

  async #checkMigration(status: string): Promise<void> {
    if (status === 'completed') return;
    const info = (await this.#monitor.execute('query-migrate')) as { 'error-desc'?: string };
    const why = info['error-desc'] ?? 'no reason given';
    throw new HawserError('hypervisor_error', `QEMU's migration ended as ${status}: ${why}`);
  }

  #event({ event, data }: QmpEvent): void {
    switch (event) {
      case 'SHUTDOWN':
        this.#shutdown(String(data['reason']));
        return;
      case 'VSERPORT_CHANGE':
        if (data['id'] === 'agent') this.#agentPort = data['open'] === true ? 'open' : 'closed';
        return;
      case 'MIGRATION':
        if (data['status'] === 'completed' || data['status'] === 'failed') this.#migration?.(data['status']);
        return;
      default:
        return;
    }
  }

  /** QEMU stays, paused, after the guest's end: what it said has arrived, and it may go. */
  #shutdown(reason: string): void {
    const end = guestEnds[reason];
    if (end === undefined) return;
    this.#guestEnd ??= end;
    // A QEMU that is gone already has done what it was asked to.
    this.#qmp?.execute('quit').catch(() => undefined);
  }
}

const hungUp = new Set(['ERR_STREAM_PREMATURE_CLOSE', 'EPIPE', 'ECONNRESET']);

/** By QEMU's ShutdownCause (qapi/run-state.json). */
const guestEnds: Readonly<Record<string, GuestEnd>> = {
  'guest-shutdown': 'poweroff',
  'guest-reset': 'reset',
  'guest-panic': 'panic',
};
