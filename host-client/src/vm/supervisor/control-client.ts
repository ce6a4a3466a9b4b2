import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { join } from 'node:path';
import { HawserError } from '@hawser/protocol';
import { vmFiles } from '../hypervisors/guest-lines.js';
import type { VmEnd } from '../vm-end.js';
import { describeEnd } from '../vm-end.js';
import type { ControlReply, ControlRequest, ControlStatus } from './control-protocol.js';
import { fromPlainError } from './control-protocol.js';
import { JsonLines } from './json-lines.js';

interface Pending {
  readonly resolve: (status: ControlStatus | null) => void;
  readonly reject: (error: HawserError) => void;
}

/** The connection to a VM's supervisor. It does not keep the process alive but while something is awaited. */
export class ControlClient {
  /** How the VM ended. */
  readonly ended: Promise<VmEnd>;
  #end: VmEnd | undefined;
  readonly #socket: Socket;
  readonly #pending: Pending[] = [];
  #waiting = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    let settle!: (end: VmEnd) => void;
    this.ended = new Promise((resolve) => (settle = resolve));
    const lines = new JsonLines((value) => this.#received(value as ControlReply));
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => lines.push(chunk));
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => {
      this.#end ??= { how: 'supervisor_lost' };
      settle(this.#end);
      for (const { reject } of this.#pending.splice(0)) reject(this.#gone());
    });
    socket.unref();
  }

  /** @throws HawserError `vm_ended` where no supervisor listens any more */
  static async connect(directory: string): Promise<ControlClient> {
    const socket = connect(join(directory, vmFiles.control));
    try {
      await once(socket, 'connect');
    } catch (cause) {
      socket.destroy();
      const { code, message } = cause as NodeJS.ErrnoException;
      throw new HawserError(
        'vm_ended',
        `the supervisor of the VM in ${directory} does not answer: ${message}`,
        { errno: code, cause },
      );
    }
    return new ControlClient(socket);
  }

  /** How the VM ended, if it has. */
  get end(): VmEnd | undefined {
    return this.#end;
  }

  /** @throws HawserError `vm_ended`, or what the supervisor failed with */
  async request(request: ControlRequest): Promise<ControlStatus | null> {
    if (this.#end !== undefined) throw this.#gone();
    return this.#awaited(
      new Promise((resolve, reject) => {
        this.#pending.push({ resolve, reject });
        this.#socket.write(`${JSON.stringify(request)}\n`);
      }),
    );
  }

  /** As `ended`, and the process stays for it. */
  waitForEnd(): Promise<VmEnd> {
    return this.#awaited(this.ended);
  }

  close(): void {
    this.#socket.destroy();
  }

  async #awaited<T>(work: Promise<T>): Promise<T> {
    this.#waiting += 1;
    this.#socket.ref();
    try {
      return await work;
    } finally {
      this.#waiting -= 1;
      if (this.#waiting === 0) this.#socket.unref();
    }
  }

  #received(reply: ControlReply): void {
    if ('ended' in reply) {
      this.#end = reply.ended;
      return;
    }
    const pending = this.#pending.shift();
    if ('ok' in reply) pending?.resolve(reply.ok);
    else pending?.reject(fromPlainError(reply.error));
  }

  #gone(): HawserError {
    return new HawserError(
      'vm_ended',
      `the VM has ended: ${describeEnd(this.#end ?? { how: 'supervisor_lost' })}`,
    );
  }
}
