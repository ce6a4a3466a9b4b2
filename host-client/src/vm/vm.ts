import type { Agent } from '../agent.js';
import type { VmConsole } from './console.js';
import type { VmRecord } from './registry/vm-record.js';
import { endWithVm, RunningVm } from './running-vm.js';
import type { ControlClient } from './supervisor/control-client.js';
import type { Watchdog } from './supervisor/watchdog.js';

/**
 * A VM that this process launched. It ends with this process, in whatever way that ends, unless it was detached.
 *
 * @example
 * await using vm = await launchVm({ image: 'image' });
 * const { stdout } = await vm.agent.exec('uname', ['-a']);
 * await vm.drain();
 */
export class Vm extends RunningVm {
  /** Connected. */
  readonly agent: Agent;
  readonly #watchdog: Watchdog;
  #detached = false;

  /** @internal */
  constructor(
    found: { readonly directory: string; readonly record: VmRecord },
    parts: {
      readonly control: ControlClient;
      readonly console: VmConsole;
      readonly agent: Agent;
      readonly watchdog: Watchdog;
    },
  ) {
    super(found.directory, found.record, parts.control, parts.console);
    this.agent = parts.agent;
    endWithVm(parts.agent, parts.control);
    this.#watchdog = parts.watchdog;
  }

  /** From now on the VM outlives this process, and its folder stays with it. `openVm` finds it again by its name. */
  async detach(): Promise<void> {
    await this.control.request({ op: 'detach' });
    this.#detached = true;
    this.#watchdog.close();
  }

  /** Kills the VM if it still runs and was not detached, and lets go of it. For an end in order, `drain` it before. */
  override async close(): Promise<void> {
    if (!this.#detached) {
      await this.kill();
      this.#watchdog.close();
    }
    await this.agent.close();
    await super.close();
  }

  protected override async askToShutDown(): Promise<void> {
    await this.agent.shutdown();
  }
}
