import type { VmPlan } from '../vm-plan.js';
import { CloudHypervisor } from './cloud-hypervisor.js';
import { Firecracker } from './firecracker.js';
import { Qemu } from './qemu.js';

/** What the hypervisor said of the guest's end, where it says such things. */
export type GuestEnd = 'poweroff' | 'reset' | 'panic';

/** Whether the guest has the agent's port open, where the hypervisor sees that. */
export type AgentPort = 'open' | 'closed' | 'unknown';

/**
 * One hypervisor's ways: its command line, how its guest is started, paused and saved. The process itself is the
 * supervisor's. Everything a method makes in the VM's folder goes with the folder.
 */
export interface Hypervisor {
  readonly args: readonly string[];
  /** Called before the process is started. */
  prepare(): Promise<void>;
  /** Has the guest run. `exited` rejects when the process ended meanwhile. */
  boot(exited: Promise<never>): Promise<void>;
  readonly guestEnd: GuestEnd | undefined;
  readonly agentPort: AgentPort;
  pause(): Promise<void>;
  /** Writes the paused guest's memory and devices into `directory`, which exists. */
  save(directory: string): Promise<void>;
  resume(): Promise<void>;
  close(): void;
}

export function hypervisorOf(plan: VmPlan, directory: string, id: string): Hypervisor {
  switch (plan.hypervisor) {
    case 'qemu':
      return new Qemu(plan, directory);
    case 'firecracker':
      return new Firecracker(plan, directory, id);
    case 'cloud-hypervisor':
      return new CloudHypervisor(plan, directory);
  }
}
