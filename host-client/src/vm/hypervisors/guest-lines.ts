import type { VmLine } from '../vm-options.js';
import { agentPortName, agentVsockPort } from '../vm-options.js';
import type { VmPlan } from '../vm-plan.js';

/** Names of what lies in a VM's private folder, which is also the hypervisor's working directory. */
export const vmFiles = {
  /** Of the supervisor: requests about the VM. */
  control: 'control.sock',
  /** QMP of QEMU, the API of the others. */
  api: 'api.sock',
  /** Behind vsock, with Firecracker and Cloud Hypervisor. */
  vsock: 'vsock.sock',
  console: 'console.log',
  /** What was in the log before it was begun anew. */
  consoleBefore: 'console.log.old',
} as const;

/** The socket of a line that QEMU gives one. */
export function lineSocket(line: Exclude<VmLine, 'vsock'>): string {
  return line === 'virtio' ? 'agent.sock' : `${line}.sock`;
}

/** Where the host finds a line, for `connect`. */
export function hostLine(line: VmLine, plan: VmPlan, directory: string): string {
  if (line !== 'vsock') return `unix:${directory}/${lineSocket(line)}`;
  if (plan.hypervisor === 'qemu') return `vsock:${vsockCid(directory)}:${agentVsockPort}`;
  return `firecracker:${directory}/${vmFiles.vsock}:${agentVsockPort}`;
}

/** Where the agent finds the other end of it, for `hawser.listen`. */
function guestLine(line: VmLine, plan: VmPlan): string {
  const serial = plan.machine === 'virt' ? 'ttyAMA' : 'ttyS';
  switch (line) {
    case 'virtio':
      return `virtio:${agentPortName}`;
    case 'uart':
      return `uart:/dev/${serial}1`;
    case 'console':
      return `uart:/dev/${serial}0`;
    case 'vsock':
      return `vsock:${agentVsockPort}`;
  }
}

/**
 * A CID of the VM's own where the whole host shares the numbers (vhost-vsock): made of the folder's name, which
 * is eight hexadecimal digits, and kept out of the reserved ones below 3.
 */
export function vsockCid(directory: string): number {
  const id = Number.parseInt(directory.slice(-8), 16);
  return 3 + ((Number.isNaN(id) ? 0 : id) % 0xffff_0000);
}

/** The kernel's command line: the machine's words, the agent's lines, and the caller's own, which come last and so win. */
export function kernelCommandLine(plan: VmPlan, machineArgs: readonly string[]): string {
  const listen = plan.lines.map((line) => guestLine(line, plan)).join(',');
  return [...machineArgs, `hawser.listen=${listen}`, ...plan.kernelArgs].join(' ');
}
