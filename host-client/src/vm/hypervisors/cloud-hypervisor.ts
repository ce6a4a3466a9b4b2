import type { VmPlan } from '../vm-plan.js';
import { ApiHypervisor } from './api-hypervisor.js';
import {
  cloudHypervisorArguments,
  cloudHypervisorRestoreCalls,
  cloudHypervisorSnapshotCalls,
} from './cloud-hypervisor-arguments.js';
import type { ApiCall } from './vmm-api.js';

/** Cloud Hypervisor; tested against a server that stands for it, since it needs KVM. */
export class CloudHypervisor extends ApiHypervisor {
  readonly args: readonly string[];
  readonly #restored: boolean;

  constructor(plan: VmPlan, directory: string) {
    super(directory);
    this.args = cloudHypervisorArguments(plan);
    this.#restored = plan.restoreFrom !== undefined;
  }

  protected bootCalls(): readonly ApiCall[] {
    // A new guest was described on the command line, and runs; being asked says that it does.
    return this.#restored ? cloudHypervisorRestoreCalls() : [{ method: 'GET', path: '/api/v1/vmm.ping' }];
  }

  protected snapshotCalls(directory: string): ReturnType<typeof cloudHypervisorSnapshotCalls> {
    return cloudHypervisorSnapshotCalls(directory);
  }
}
