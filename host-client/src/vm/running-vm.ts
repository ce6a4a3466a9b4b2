import { HawserError } from '@hawser/protocol';
import type { Agent } from '../agent.js';
import { connect } from '../connect.js';
import type { ConnectOptions } from '../options.js';
import type { VmConsole } from './console.js';
import type { VmRecord } from './registry/vm-record.js';
import type { ControlClient } from './supervisor/control-client.js';
import type { VmEnd } from './vm-end.js';
import { describeEnd } from './vm-end.js';

/** Without this, an agent whose VM is gone would be looked for as one whose line was lost. */
export function endWithVm(agent: Agent, control: ControlClient): void {
  void control.ended.then((end) =>
    agent.end(new HawserError('vm_ended', `the VM has ended: ${describeEnd(end)}`)),
  );
}

export interface DrainOptions {
  /** After so long without the guest's end, the VM is killed. Default 15000. */
  readonly deadlineMs?: number;
}

const drainDeadlineMs = 15_000;

/**
 * A VM that runs, whoever launched it. Closing this, or `await using`, lets go of it; the VM stays as it is.
 */
export class RunningVm implements AsyncDisposable {
  /** The hypervisor's process. */
  readonly pid: number;
  readonly name: string;
  /** Eight hexadecimal digits, of which the VM's folder has its name. */
  readonly id: string;
  /** The line to the agent, for `connect`. */
  readonly line: string;
  /** The VM's private folder; it goes with the VM. */
  readonly directory: string;
  readonly console: VmConsole;
  protected readonly control: ControlClient;

  /** @internal */
  constructor(directory: string, record: VmRecord, control: ControlClient, console: VmConsole) {
    this.directory = directory;
    this.pid = record.hypervisor?.pid ?? -1;
    this.name = record.name;
    this.id = record.id;
    this.line = record.line;
    this.control = control;
    this.console = console;
  }

  /** Waits for the VM's end, and says how it ended. When it resolves, nothing of the VM is left. */
  wait(): Promise<VmEnd> {
    return this.control.waitForEnd();
  }

  /** How the VM ended; nothing while it runs. */
  tryWait(): VmEnd | undefined {
    return this.control.end;
  }

  /** Connects to the agent. A line of one connection at a time (all but vsock) is free when nobody else is connected. */
  async connect(options: ConnectOptions = {}): Promise<Agent> {
    const agent = await connect(this.line, options);
    endWithVm(agent, this.control);
    return agent;
  }

  /**
   * Asks the guest to shut down in order, and waits for its end; when the deadline comes first, the VM is killed. A
   * guest whose agent cannot be reached, or is not its first process, is waited for until the deadline all the same.
   */
  async drain({ deadlineMs = drainDeadlineMs }: DrainOptions = {}): Promise<VmEnd> {
    const deadline = AbortSignal.timeout(deadlineMs);
    const late = new Promise<void>((resolve) => deadline.addEventListener('abort', () => resolve()));
    const asked = this.askToShutDown(deadline).catch((error: unknown) => {
      // The line may go with the guest before the answer is here.
      if (!(error instanceof HawserError)) throw error;
    });
    const end = await Promise.race([this.wait(), Promise.all([late, asked]).then(() => undefined)]);
    return end ?? this.killBecause('drain_deadline');
  }

  /** Ends the VM at once: what its guest had not written to a disk is lost. */
  kill(): Promise<VmEnd> {
    return this.killBecause('request');
  }

  /**
   * Writes memory, devices and the written disks, all of one moment, into a new folder, from which `restoreVm` goes on.
   * The guest stands still meanwhile, and then goes on here.
   *
   * @throws HawserError `unsupported`, `hypervisor_error`, `vm_ended`
   */
  async snapshot(directory: string): Promise<void> {
    await this.control.request({ op: 'snapshot', directory });
  }

  /** Lets go of the VM. */
  async close(): Promise<void> {
    this.control.close();
    await this.console.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  protected async askToShutDown(signal: AbortSignal): Promise<void> {
    await using agent = await this.connect({ signal });
    await agent.shutdown();
    await agent.closed; // the exits of its sessions are sent until then
  }

  protected async killBecause(by: 'request' | 'drain_deadline'): Promise<VmEnd> {
    await this.control.request({ op: 'kill', by }).catch((error: unknown) => {
      // It has ended by itself, which is how it is then reported.
      if (!(error instanceof HawserError) || error.code !== 'vm_ended') throw error;
    });
    return this.wait();
  }
}
