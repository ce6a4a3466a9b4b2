import type { VmPlan } from '../vm-plan.js';
import { kernelCommandLine, vmFiles } from './guest-lines.js';
import type { ApiCall } from './vmm-api.js';

/**
 * Firecracker's own command line. The VM is put together over the API (firecracker.yaml of Firecracker 1.x), whose
 * socket lies in its working directory, the VM's private folder.
 */
export function firecrackerArguments(plan: VmPlan, id: string): string[] {
  return ['--api-sock', vmFiles.api, '--id', id, ...plan.hypervisorArgs];
}

/** What Firecracker takes as `--config-file`, in the form of its documentation. */
export interface FirecrackerConfig {
  readonly 'boot-source': {
    readonly kernel_image_path: string;
    readonly initrd_path?: string;
    readonly boot_args: string;
  };
  readonly 'machine-config': { readonly vcpu_count: number; readonly mem_size_mib: number };
  readonly drives: readonly {
    readonly drive_id: string;
    readonly path_on_host: string;
    readonly is_root_device: false;
    readonly is_read_only: boolean;
  }[];
  readonly vsock: { readonly guest_cid: number; readonly uds_path: string };
}

/** Firecracker's guests do not share their CIDs: each is behind a socket of its own. */
const guestCid = 3;

/** The one source: the configuration file is this, and the API's calls are made of it. */
export function firecrackerConfig(plan: VmPlan): FirecrackerConfig {
  return {
    'boot-source': {
      kernel_image_path: plan.kernel,
      ...(plan.initramfs !== null && { initrd_path: plan.initramfs }),
      // reboot=k: the only way for its guests to end the VM; panic=-1 reboots at once.
      boot_args: kernelCommandLine(plan, [
        'console=ttyS0',
        'quiet',
        'reboot=k',
        'panic=-1',
        'pci=off',
        'i8042.noaux',
      ]),
    },
    'machine-config': { vcpu_count: plan.cpus, mem_size_mib: plan.memoryMiB },
    drives: plan.disks.map(({ path, readOnly }, index) => ({
      drive_id: `disk${index}`,
      path_on_host: path,
      is_root_device: false,
      is_read_only: readOnly ?? false,
    })),
    // Relative, so that a VM restored in another folder finds its socket there.
    vsock: { guest_cid: guestCid, uds_path: vmFiles.vsock },
  };
}

/** The calls that boot a VM, in order. */
export function firecrackerBootCalls(plan: VmPlan): ApiCall[] {
  const config = firecrackerConfig(plan);
  return [
    { method: 'PUT', path: '/machine-config', body: config['machine-config'] },
    { method: 'PUT', path: '/boot-source', body: config['boot-source'] },
    ...config.drives.map(
      (drive) => ({ method: 'PUT', path: `/drives/${drive.drive_id}`, body: drive }) as const,
    ),
    { method: 'PUT', path: '/vsock', body: config.vsock },
    { method: 'PUT', path: '/actions', body: { action_type: 'InstanceStart' } },
  ];
}

/** The calls that write a snapshot, and have the VM go on. */
export function firecrackerSnapshotCalls(directory: string): {
  pause: ApiCall;
  save: ApiCall;
  resume: ApiCall;
} {
  return {
    pause: { method: 'PATCH', path: '/vm', body: { state: 'Paused' } },
    save: {
      method: 'PUT',
      path: '/snapshot/create',
      body: {
        snapshot_type: 'Full',
        snapshot_path: `${directory}/state`,
        mem_file_path: `${directory}/memory`,
      },
    },
    resume: { method: 'PATCH', path: '/vm', body: { state: 'Resumed' } },
  };
}

export function firecrackerRestoreCalls(directory: string): ApiCall[] {
  return [
    {
      method: 'PUT',
      path: '/snapshot/load',
      body: {
        snapshot_path: `${directory}/state`,
        mem_backend: { backend_type: 'File', backend_path: `${directory}/memory` },
        resume_vm: true,
      },
    },
  ];
}
