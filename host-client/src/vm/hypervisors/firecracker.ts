import type { VmPlan } from '../vm-plan.js';
import { ApiHypervisor } from './api-hypervisor.js';
import {
  firecrackerArguments,
  firecrackerBootCalls,
  firecrackerRestoreCalls,
  firecrackerSnapshotCalls,
} from './firecracker-config.js';
import type { ApiCall } from './vmm-api.js';

/** Firecracker; tested against a server that stands for it, since it needs KVM. */
export class Firecracker extends ApiHypervisor {
  readonly args: readonly string[];
  readonly #plan: VmPlan;

  constructor(plan: VmPlan, directory: string, id: string) {
    super(directory);
    this.#plan = plan;
    this.args = firecrackerArguments(plan, id);
  }

  protected bootCalls(): readonly ApiCall[] {
    const { restoreFrom } = this.#plan;
    return restoreFrom === undefined
      ? firecrackerBootCalls(this.#plan)
      : firecrackerRestoreCalls(restoreFrom);
  }

  protected snapshotCalls(directory: string): ReturnType<typeof firecrackerSnapshotCalls> {
    return firecrackerSnapshotCalls(directory);
  }
}
