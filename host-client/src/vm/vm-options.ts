import type { ConnectOptions } from '../options.js';
import type { VmRoot } from './image-directory.js';

export type HypervisorName = 'qemu' | 'firecracker' | 'cloud-hypervisor';

/**
 * A line between the host and the agent:
 *
 * - `virtio`: a virtio-serial port named `agent` (QEMU)
 * - `uart`: the second serial port; the kernel's console is on the first (QEMU)
 * - `console`: the serial port that the kernel's console is on (QEMU)
 * - `vsock`: port 5000 (Firecracker, Cloud Hypervisor; QEMU where the host has vhost-vsock)
 */
export type VmLine = 'virtio' | 'uart' | 'console' | 'vsock';

export interface VmDisk {
  /** A raw image, or a block device. */
  readonly path: string;
  /** Several VMs may read one image; one that is written is one VM's alone. Default false. */
  readonly readOnly?: boolean;
}

export interface LaunchVmOptions {
  /** Default `qemu`. */
  readonly hypervisor?: HypervisorName;
  /** The hypervisor's program. Default: `qemu-system-x86_64` (or the machine's architecture), `firecracker`, `cloud-hypervisor` in PATH. */
  readonly program?: string;
  /** Of QEMU. Default `microvm`, on x86_64; `q35` with the line `uart`; else `virt`, which was not tried. */
  readonly machine?: 'microvm' | 'q35' | 'virt';
  /** Of QEMU. `auto` takes KVM if /dev/kvm can be opened. Default: `HAWSER_QEMU_ACCEL`, else `auto`. */
  readonly accelerator?: 'auto' | 'kvm' | 'tcg';
  /** A folder that `npm run image` made. Default: `HAWSER_IMAGE`. */
  readonly image?: string;
  /** Default `memory`, which needs the most memory and no disk. */
  readonly root?: VmRoot;
  /** A kernel instead of the image's. */
  readonly kernel?: string;
  /** An initramfs instead of the image's; `null` for none. */
  readonly initramfs?: string | null;
  /** Behind those that Hawser sets. */
  readonly kernelArgs?: readonly string[];
  /** Default 512: an initramfs with Node is unpacked into it. */
  readonly memoryMiB?: number;
  /** Default 1. */
  readonly cpus?: number;
  /** The first is the one that `vm.agent` uses. Default: `virtio` with QEMU, `vsock` with the others. */
  readonly lines?: readonly VmLine[];
  readonly disks?: readonly VmDisk[];
  /** At most 128 bytes of UTF-8, and no other VM's. Default: `vm-` and the VM's id. */
  readonly name?: string;
  /** More of this user's VMs at a time are refused. Default: `HAWSER_VMS_MAX`, else 64. */
  readonly vmsMax?: number;
  /** How long it may take until the agent answers. Default 60000. */
  readonly bootTimeoutMs?: number;
  /** What is kept of the console, bytes. Default 8 MiB. */
  readonly consoleBytesMax?: number;
  /** Further arguments for the hypervisor's program. */
  readonly hypervisorArgs?: readonly string[];
  /** For the connection to the agent. */
  readonly connect?: Omit<ConnectOptions, 'handshakeTimeoutMs' | 'signal'>;
  /** Told what the launch has come to. */
  readonly onProgress?: (step: LaunchStep) => void;
  /** Ends the launch, and the VM with it. */
  readonly signal?: AbortSignal;
}

export type LaunchStep = 'supervisor' | 'hypervisor' | 'agent';

export const vmDefaults = {
  memoryMiB: 512,
  cpus: 1,
  vmsMax: 64,
  bootTimeoutMs: 60_000,
  consoleBytesMax: 8 * 1024 * 1024,
} as const;

/** The port of the agent on vsock, and the name of its virtio-serial port. */
export const agentVsockPort = 5000;
export const agentPortName = 'agent';
