import type { Socket } from 'node:net';
import { HawserError } from '@hawser/protocol';

export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** A reply of QEMU's is short; a longer line is none of its making. */
const lineCharactersMax = 1024 * 1024;

/**
 * QEMU's machine protocol (QEMU, docs/interop/qmp-spec): one JSON object a line; a greeting, then commands with
 * replies in order, and events between them.
 */
export class QmpClient {
  readonly #socket: Socket;
  readonly #onEvent: (event: QmpEvent) => void;
  readonly #pending = new Map<
    number,
    { resolve: (value: unknown) => void; reject: (error: Error) => void; command: string }
  >();
  readonly #greeted: Promise<void>;
  #greet!: () => void;
  #text = '';
  #lastId = 0;
  #over: HawserError | undefined;

  /** @param socket connected; it is this client's from now on */
  constructor(socket: Socket, onEvent: (event: QmpEvent) => void) {
    this.#socket = socket;
    this.#onEvent = onEvent;
    this.#greeted = new Promise((resolve) => (this.#greet = resolve));
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => this.#received(chunk));
    socket.on('error', (error) => this.#end(`the connection to QEMU failed: ${error.message}`));
    socket.on('close', () => this.#end('QEMU closed its monitor'));
  }

  /** Waits for the greeting and leaves negotiation mode. Must be the first command. */
  async negotiate(): Promise<void> {
    await this.#greeted;
    await this.execute('qmp_capabilities');
  }

  /** @throws HawserError `hypervisor_error` with QEMU's own text */
  execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    if (this.#over !== undefined) return Promise.reject(this.#over);
    const id = (this.#lastId += 1);
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, command });
      this.#socket.write(`${JSON.stringify({ execute: command, ...(args && { arguments: args }), id })}\n`);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #received(chunk: string): void {
    this.#text += chunk;
    for (let end = this.#text.indexOf('\n'); end >= 0; end = this.#text.indexOf('\n')) {
      const line = this.#text.slice(0, end).trim();
      this.#text = this.#text.slice(end + 1);
      if (line !== '') this.#line(line);
    }
    if (this.#text.length > lineCharactersMax) {
      this.#end(`QEMU sent a line of more than ${lineCharactersMax} characters`);
      this.close();
    }
  }

  #line(line: string): void {
    let message: Record<string, unknown>;
    try {
      message = JSON.parse(line) as Record<string, unknown>;
    } catch {
      this.#end(`QEMU sent what is no JSON: ${line.slice(0, 200)}`);
      this.close();
      return;
    }
    if ('QMP' in message) this.#greet();
    else if (typeof message['event'] === 'string')
      this.#onEvent({ event: message['event'], data: (message['data'] ?? {}) as Record<string, unknown> });
    else this.#reply(message);
  }

  #reply({ id, return: value, error }: Record<string, unknown>): void {
    const pending = this.#pending.get(id as number);
    if (pending === undefined) return;
    this.#pending.delete(id as number);
    if (error === undefined) pending.resolve(value);
    else
      pending.reject(
        new HawserError(
          'hypervisor_error',
          `QEMU refused ${pending.command}: ${String((error as { desc?: unknown }).desc)}`,
        ),
      );
  }

  #end(why: string): void {
    if (this.#over !== undefined) return;
    this.#over = new HawserError('hypervisor_error', why);
    this.#greet(); // whoever waits goes on, and fails with the first command
    for (const { reject } of this.#pending.values()) reject(this.#over);
    this.#pending.clear();
  }
}
