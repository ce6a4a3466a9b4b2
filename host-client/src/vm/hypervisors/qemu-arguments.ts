import { agentPortName } from '../vm-options.js';
import type { VmPlan } from '../vm-plan.js';
import { kernelCommandLine, lineSocket, vmFiles, vsockCid } from './guest-lines.js';

/**
 * In software emulation the microvm machine has no timer that the kernel could calibrate the TSC against, and hangs
 * trying; so it is told. The value only scales the guest's clock until kvm-clock or the RTC corrects it.
 */
const tscKhz = 2_300_000;

/**
 * QEMU's arguments for a plan. Sockets and logs are named relative to QEMU's working directory, `directory`, which
 * keeps them below the 107 bytes of a socket's path.
 *
 * QEMU starts with its CPUs stopped: the supervisor, which QEMU connects to over QMP, has them run. When the guest ends,
 * QEMU says how and stays until it is told to quit.
 */
export function qemuArguments(plan: VmPlan, directory: string): string[] {
  return [
    ['-no-user-config', '-nodefaults', '-display', 'none', '-nic', 'none'],
    ['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ['-accel', plan.accelerator === 'tcg' ? 'tcg,thread=multi' : 'kvm'],
    ['-machine', machine(plan), '-cpu', plan.accelerator === 'tcg' ? 'max' : 'host'],
    ['-m', `${plan.memoryMiB}M`, '-smp', String(plan.cpus)],
    ['-S', '-action', 'reboot=shutdown,shutdown=pause'],
    ['-chardev', `socket,id=qmp,path=${vmFiles.api}`, '-mon', 'chardev=qmp,mode=control'],
    ['-kernel', plan.kernel],
    plan.initramfs === null ? [] : ['-initrd', plan.initramfs],
    ['-append', kernelCommandLine(plan, machineKernelArgs(plan))],
    serialPorts(plan),
    ...plan.lines.map((line) => lineDevice(line, plan, directory)),
    ...plan.disks.map((disk, index) => diskDevice(disk, index, plan)),
    plan.restoreFrom === undefined ? [] : ['-incoming', 'defer'],
    plan.hypervisorArgs,
  ].flat();
}

function machine({ machine: type }: VmPlan): string {
  switch (type) {
    case 'microvm':
      return 'microvm,rtc=on';
    case 'q35':
      return 'q35,vmport=off';
    case 'virt':
      return 'virt';
  }
}

function machineKernelArgs(plan: VmPlan): string[] {
  const console = plan.machine === 'virt' ? 'ttyAMA0' : 'ttyS0';
  return [
    `console=${console}`,
    'quiet',
    'panic=-1',
    // Through the triple fault or the keyboard controller, as a machine without ACPI can.
    'reboot=t',
    ...(plan.machine === 'microvm' && plan.accelerator === 'tcg' ? [`tsc_early_khz=${tscKhz}`] : []),
  ];
}

/** The console goes to QEMU's stdout, which the supervisor writes to the log; shared with the agent, QEMU logs it itself. */
function serialPorts(plan: VmPlan): string[] {
  const shared = plan.lines.includes('console');
  const console = shared
    ? `socket,id=console,path=${lineSocket('console')},server=on,wait=off,logfile=${vmFiles.console},logappend=on`
    : 'stdio,id=console,signal=off,mux=off';
  return ['-chardev', console, '-serial', 'chardev:console'];
}

function lineDevice(line: VmPlan['lines'][number], plan: VmPlan, directory: string): string[] {
  switch (line) {
    case 'virtio':
      return [
        '-device',
        bus('virtio-serial', plan),
        '-chardev',
        `socket,id=agent,path=${lineSocket('virtio')},server=on,wait=off`,
        '-device',
        `virtserialport,chardev=agent,name=${agentPortName},id=agent`,
      ];
    case 'uart':
      return [
        '-chardev',
        `socket,id=uart,path=${lineSocket('uart')},server=on,wait=off`,
        '-serial',
        'chardev:uart',
      ];
    case 'vsock':
      return ['-device', `${bus('vhost-vsock', plan)},guest-cid=${vsockCid(directory)}`];
    case 'console':
      return [];
  }
}

/** In JSON, because a path may hold commas and equals signs. */
function diskDevice(disk: VmPlan['disks'][number], index: number, plan: VmPlan): string[] {
  const readOnly = disk.readOnly ?? false;
  const node = {
    driver: 'raw',
    'node-name': `disk${index}`,
    'read-only': readOnly,
    file: { driver: 'file', filename: disk.path, 'read-only': readOnly, 'auto-read-only': false },
  };
  const device = `${bus('virtio-blk', plan)},drive=disk${index},serial=disk${index}`;
  return ['-blockdev', JSON.stringify(node), '-device', device];
}

/** microvm has virtio over MMIO only. */
function bus(device: string, { machine: type }: VmPlan): string {
  return `${device}-${type === 'microvm' ? 'device' : 'pci'}`;
}
