import type { VmPlan } from '../../src/vm/vm-plan.js';

/** A plan with nothing in it that a test does not name. */
export function aPlan(change: Partial<VmPlan> = {}): VmPlan {
  return {
    hypervisor: 'qemu',
    program: 'qemu-system-x86_64',
    machine: 'microvm',
    accelerator: 'tcg',
    kernel: '/images/vmlinuz',
    initramfs: '/images/initramfs.cpio',
    kernelArgs: [],
    memoryMiB: 512,
    cpus: 1,
    lines: ['virtio'],
    disks: [],
    name: undefined,
    vmsMax: 64,
    consoleBytesMax: 8192,
    hypervisorArgs: [],
    restoreFrom: undefined,
    ...change,
  };
}
