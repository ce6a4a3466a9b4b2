import { closeSync, openSync } from 'node:fs';
import { isAbsolute, resolve } from 'node:path';
import { HawserError } from '@hawser/protocol';
import { readImageDirectory } from './image-directory.js';
import { checkVmName } from './vm-name.js';
import type { HypervisorName, LaunchVmOptions, VmLine } from './vm-options.js';
import { vmDefaults } from './vm-options.js';

export interface PlannedDisk {
  readonly path: string;
  readonly readOnly: boolean;
  /** A saved image, of which `path` is made when the VM starts. */
  readonly savedIn?: string;
}

/**
 * All that is to be known to make a VM, checked and complete: what the launching process gives its
 * supervisor, in JSON, and what each hypervisor's arguments are made of.
 */
export interface VmPlan {
  readonly hypervisor: HypervisorName;
  /** A path, or a name to be found in PATH. */
  readonly program: string;
  readonly machine: 'microvm' | 'q35' | 'virt';
  readonly accelerator: 'kvm' | 'tcg';
  readonly kernel: string;
  readonly initramfs: string | null;
  readonly kernelArgs: readonly string[];
  readonly memoryMiB: number;
  readonly cpus: number;
  readonly lines: readonly [VmLine, ...VmLine[]];
  readonly disks: readonly PlannedDisk[];
  readonly name: string | undefined;
  readonly vmsMax: number;
  readonly consoleBytesMax: number;
  readonly hypervisorArgs: readonly string[];
  /** A folder that `vm.snapshot` made: the VM goes on from there instead of booting. */
  readonly restoreFrom: string | undefined;
}

const linesOf: Readonly<Record<HypervisorName, readonly VmLine[]>> = {
  qemu: ['virtio', 'uart', 'console', 'vsock'],
  firecracker: ['vsock'],
  'cloud-hypervisor': ['vsock'],
};

/**
 * Checks the options and completes them.
 *
 * @throws HawserError `invalid_argument`
 */
export function planVm(options: LaunchVmOptions, env: NodeJS.ProcessEnv = process.env): VmPlan {
  const hypervisor = options.hypervisor ?? 'qemu';
  if (!Object.hasOwn(linesOf, hypervisor))
    throw wrong(`there is no hypervisor ${JSON.stringify(hypervisor)}`);
  const image = options.image ?? (options.kernel === undefined ? env['HAWSER_IMAGE'] : undefined);
  const files =
    image === undefined || image === '' ? undefined : readImageDirectory(image, options.root ?? 'memory');
  const kernel = options.kernel ?? files?.kernel;
  if (kernel === undefined)
    throw wrong(
      'there is neither an image nor a kernel to boot: give a folder that "npm run image" made, or set HAWSER_IMAGE to one',
    );
  const initramfs = options.initramfs === undefined ? (files?.initramfs ?? null) : options.initramfs;
  const lines = chosenLines(options.lines, hypervisor);
  return {
    hypervisor,
    program: programOf(options.program, hypervisor),
    machine: chosenMachine(options.machine, lines),
    accelerator: chosenAccelerator(options.accelerator ?? env['HAWSER_QEMU_ACCEL']),
    kernel: resolve(kernel),
    initramfs: initramfs === null ? null : resolve(initramfs),
    kernelArgs: [
      ...(files?.rootDisk?.readOnly === false ? ['rw'] : []),
      ...(options.kernelArgs ?? []).map(checkKernelArg),
    ],
    memoryMiB: whole('memoryMiB', options.memoryMiB ?? vmDefaults.memoryMiB, 16, 16 * 1024 * 1024),
    cpus: whole('cpus', options.cpus ?? vmDefaults.cpus, 1, 1024),
    lines,
    disks: [...(files?.rootDisk === undefined ? [] : [files.rootDisk]), ...(options.disks ?? [])].map(
      ({ path, readOnly }) => ({
        path: resolve(path),
        readOnly: readOnly ?? false,
      }),
    ),
    name: options.name === undefined ? undefined : checkVmName(options.name),
    vmsMax: whole(
      'vmsMax',
      options.vmsMax ?? numberOf(env['HAWSER_VMS_MAX']) ?? vmDefaults.vmsMax,
      1,
      1_000_000,
    ),
    consoleBytesMax: whole(
      'consoleBytesMax',
      options.consoleBytesMax ?? vmDefaults.consoleBytesMax,
      4096,
      2 ** 31,
    ),
    hypervisorArgs: options.hypervisorArgs ?? [],
    restoreFrom: undefined,
  };
}

function chosenLines(lines: readonly VmLine[] | undefined, hypervisor: HypervisorName): VmPlan['lines'] {
  const known = linesOf[hypervisor];
  const [first, ...others] = lines ?? [known[0] as VmLine];
  if (first === undefined) throw wrong('lines is empty: a VM without a line to its agent is of no use');
  const all = [first, ...others] as const;
  for (const line of all)
    if (!known.includes(line))
      throw wrong(`${hypervisor} has no line ${JSON.stringify(line)}: it has ${known.join(', ')}`);
  if (new Set(all).size < all.length) throw wrong(`lines has one twice: ${all.join(', ')}`);
  return [first, ...others];
}

/** microvm boots quickest, and has one serial port. */
function chosenMachine(machine: VmPlan['machine'] | undefined, lines: VmPlan['lines']): VmPlan['machine'] {
  if (machine === 'microvm' && lines.includes('uart'))
    throw wrong(
      'the machine microvm has one serial port, and the kernel has its console there: take q35 for the line uart',
    );
  if (machine !== undefined) return machine;
  if (process.arch !== 'x64') return 'virt';
  return lines.includes('uart') ? 'q35' : 'microvm';
}

/** @param chosen an option, or the environment's word */
function chosenAccelerator(chosen: string | undefined): 'kvm' | 'tcg' {
  switch (chosen) {
    case 'kvm':
    case 'tcg':
      return chosen;
    case undefined:
    case '':
    case 'auto':
      // The file may be there and not be ours to open, or have nothing behind it.
      return mayOpen('/dev/kvm') ? 'kvm' : 'tcg';
    default:
      throw wrong(`there is no accelerator ${JSON.stringify(chosen)}: auto, kvm or tcg`);
  }
}

function programOf(given: string | undefined, hypervisor: HypervisorName): string {
  if (given !== undefined) return given.includes('/') && !isAbsolute(given) ? resolve(given) : given;
  if (hypervisor !== 'qemu') return hypervisor;
  return `qemu-system-${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}`;
}

/** The kernel splits its command line at spaces and ends it at a newline. */
function checkKernelArg(arg: string): string {
  if (/[\s\p{Cc}]/u.test(arg) || arg === '')
    throw wrong(`the kernel argument ${JSON.stringify(arg)} is empty or has white space in it`);
  return arg;
}

function whole(name: string, value: number, min: number, max: number): number {
  if (!Number.isInteger(value) || value < min || value > max)
    throw wrong(`${name} ${value} is no whole number from ${min} to ${max}`);
  return value;
}

function numberOf(text: string | undefined): number | undefined {
  return text === undefined || text === '' ? undefined : Number(text);
}

/** Opened for real: root may open by its permissions what the kernel then refuses. */
function mayOpen(path: string): boolean {
  try {
    closeSync(openSync(path, 'r+'));
    return true;
  } catch {
    return false;
  }
}

function wrong(message: string): HawserError {
  return new HawserError('invalid_argument', message);
}
