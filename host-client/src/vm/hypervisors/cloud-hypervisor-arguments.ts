import type { VmPlan } from '../vm-plan.js';
import { kernelCommandLine, vmFiles } from './guest-lines.js';
import type { ApiCall } from './vmm-api.js';

const guestCid = 3;

/**
 * Cloud Hypervisor's command line. Values with a comma are put in quotation marks, which its option parser takes off
 * (option_parser, "split_commas").
 */
export function cloudHypervisorArguments(plan: VmPlan): string[] {
  const common = ['--api-socket', `path=${vmFiles.api}`];
  if (plan.restoreFrom !== undefined)
    return [
      ...common,
      '--restore',
      `source_url=${quoted(`file://${plan.restoreFrom}`)}`,
      ...plan.hypervisorArgs,
    ];
  const disks = plan.disks.map(
    ({ path, readOnly }) => `path=${quoted(path)},readonly=${readOnly ? 'on' : 'off'}`,
  );
  return [
    common,
    ['--kernel', plan.kernel],
    plan.initramfs === null ? [] : ['--initramfs', plan.initramfs],
    ['--cmdline', kernelCommandLine(plan, ['console=ttyS0', 'quiet', 'panic=-1', 'reboot=k'])],
    ['--cpus', `boot=${plan.cpus}`, '--memory', `size=${plan.memoryMiB}M`],
    // The serial port is the log; the virtio console, which would take the terminal, is none.
    ['--serial', 'tty', '--console', 'off'],
    disks.length === 0 ? [] : ['--disk', ...disks],
    ['--vsock', `cid=${guestCid},socket=${vmFiles.vsock}`],
    plan.hypervisorArgs,
  ].flat();
}

/** The calls that write a snapshot into an existing folder, and have the VM go on. */
export function cloudHypervisorSnapshotCalls(directory: string): {
  pause: ApiCall;
  save: ApiCall;
  resume: ApiCall;
} {
  return {
    pause: { method: 'PUT', path: '/api/v1/vm.pause' },
    save: { method: 'PUT', path: '/api/v1/vm.snapshot', body: { destination_url: `file://${directory}` } },
    resume: { method: 'PUT', path: '/api/v1/vm.resume' },
  };
}

/** A restored VM is paused. */
export function cloudHypervisorRestoreCalls(): ApiCall[] {
  return [{ method: 'PUT', path: '/api/v1/vm.resume' }];
}

function quoted(value: string): string {
  return /[,"[\]]/.test(value) ? `"${value}"` : value;
}
