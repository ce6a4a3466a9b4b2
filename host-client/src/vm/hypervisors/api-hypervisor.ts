import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { vmFiles } from './guest-lines.js';
import type { AgentPort, GuestEnd, Hypervisor } from './hypervisor.js';
import type { ApiCall } from './vmm-api.js';
import { callApi } from './vmm-api.js';

/** Between attempts to reach a hypervisor that has just been started; it says nothing when its socket is there. */
const tryAgainMs = 10;

interface SnapshotCalls {
  readonly pause: ApiCall;
  readonly save: ApiCall;
  readonly resume: ApiCall;
}

/** A hypervisor that is told what to do by HTTP over a Unix socket in the VM's folder. */
export abstract class ApiHypervisor implements Hypervisor {
  abstract readonly args: readonly string[];
  /** Neither says how its guest ended; the console tells something of it. */
  readonly guestEnd: GuestEnd | undefined = undefined;
  readonly agentPort: AgentPort = 'unknown';
  readonly #socket: string;

  constructor(directory: string) {
    this.#socket = join(directory, vmFiles.api);
  }

  /** What has the guest run, in order. */
  protected abstract bootCalls(): readonly ApiCall[];
  protected abstract snapshotCalls(directory: string): SnapshotCalls;

  async prepare(): Promise<void> {
    // The socket is the hypervisor's to make.
  }

  async boot(exited: Promise<never>): Promise<void> {
    let over = false;
    exited.catch(() => (over = true));
    for (const call of this.bootCalls()) {
      const answered = this.#callWhenThere(call, () => over);
      await Promise.race([answered, exited]);
    }
  }

  async pause(): Promise<void> {
    await callApi(this.#socket, this.snapshotCalls('').pause);
  }

  async save(directory: string): Promise<void> {
    await callApi(this.#socket, this.snapshotCalls(directory).save);
  }

  async resume(): Promise<void> {
    await callApi(this.#socket, this.snapshotCalls('').resume);
  }

  close(): void {
    // No connection outlives its call.
  }

  async #callWhenThere(call: ApiCall, over: () => boolean): Promise<void> {
    for (;;) {
      try {
        await callApi(this.#socket, call);
        return;
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (over() || (code !== 'ENOENT' && code !== 'ECONNREFUSED')) throw error;
        await delay(tryAgainMs);
      }
    }
  }
}
