// The run recipes, from one description of the machine: `npm run recipes` writes images/recipes/ anew, and a
// test compares. Those of QEMU are run by the tests (test/vm/recipes.test.ts); the others are not, since they
// need KVM: they follow their projects' documentation.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** What every recipe starts: an image of `npm run image`, with the agent on one line. */
const machine = {
  memoryMiB: 512,
  cpus: 1,
  /** Of the virtio-serial port, and of its socket on the host. */
  portName: 'agent',
  vsockPort: 5000,
  guestCid: 3,
  append: ['quiet', 'panic=-1'],
} as const;

const { memoryMiB, cpus, portName, vsockPort, guestCid } = machine;

/** So that the first line of each says what it is, how it is called, and what it leaves. */
function script(what: string, notes: readonly string[], body: readonly string[]): string {
  const head = ['#!/bin/sh', `# ${what}`, ...notes.map((note) => `# ${note}`.trimEnd())];
  const generated = '# Made by `npm run recipes` from images/recipes.ts: change it there.';
  return `${[...head, generated, 'set -eu', 'image=$1 run=$2', 'shift 2', ...body].join('\n')}\n`;
}

/** One argument, or an option and its value, a line. */
function command(program: string, ...words: readonly string[]): string {
  return [`exec ${program}`, ...words.map((word) => `  ${word}`)].join(' \\\n');
}

function qemu(kind: 'microvm' | 'q35'): string {
  const bus = kind === 'microvm' ? 'device' : 'pci';
  const append = [
    'console=ttyS0',
    'reboot=t',
    // Without KVM a microvm has nothing to measure its clock against; with it, QEMU says the frequency.
    ...(kind === 'microvm' ? ['tsc_early_khz=2300000'] : []),
    ...machine.append,
    `hawser.listen=virtio:${portName}`,
  ];
  const notes = [
    `qemu-${kind}.sh IMAGE RUN [QEMU OPTIONS]: IMAGE is a folder of \`npm run image\`, RUN one for its socket and log.`,
    '',
    `Then: hawser exec unix:RUN/${portName}.sock -- uname -a`,
    'The console is in RUN/console.log. ACCEL=kvm where there is KVM.',
    ...(kind === 'microvm'
      ? ['microvm: no PCI, no BIOS to speak of, starts quickest; one serial port.']
      : ['q35: a PC, with PCI and up to four serial ports.']),
  ];
  return script(`Runs a Hawser image in QEMU, machine ${kind}.`, notes, [
    command(
      'qemu-system-x86_64',
      '-accel "${ACCEL:-tcg,thread=multi}" -cpu max',
      `-M ${kind === 'microvm' ? 'microvm,rtc=on,acpi=on' : 'q35'} -m ${memoryMiB} -smp ${cpus}`,
      '-nodefaults -no-user-config -no-reboot -nic none -display none',
      '-serial "file:$run/console.log"',
      `-device virtio-serial-${bus}`,
      `-chardev "socket,id=${portName},path=$run/${portName}.sock,server=on,wait=off"`,
      `-device virtserialport,chardev=${portName},name=${portName}`,
      '-kernel "$image/vmlinuz" -initrd "$image/initramfs.cpio"',
      `-append "${append.join(' ')}"`,
      '"$@"',
    ),
  ]);
}

/** Firecracker's configuration file (docs/getting-started.md, "Configuring the microVM without sending API requests"). */
function firecrackerConfig(): object {
  const append = ['console=ttyS0', 'reboot=k', ...machine.append];
  // A power-off does not end a VM of Firecracker, a reset by the keyboard controller does.
  const agent = [`hawser.listen=vsock:${vsockPort}`, 'hawser.power-off-reboots'];
  return {
    'boot-source': {
      kernel_image_path: 'vmlinux',
      initrd_path: 'initramfs.cpio',
      boot_args: [...append, ...agent].join(' '),
    },
    drives: [],
    'machine-config': { vcpu_count: cpus, mem_size_mib: memoryMiB },
    vsock: { guest_cid: guestCid, uds_path: 'hawser.vsock' },
  };
}

function firecracker(): string {
  const notes = [
    'firecracker.sh IMAGE RUN [FIRECRACKER OPTIONS]: IMAGE is a folder of `npm run image -- --vmlinux`,',
    'since Firecracker takes no bzImage. Firecracker 1.8 or later, which describes its devices by ACPI.',
    '',
    `Then: hawser exec firecracker:RUN/hawser.vsock:${vsockPort} -- uname -a`,
    'The paths in firecracker.json are relative to IMAGE; the socket comes to RUN.',
  ];
  return script('Runs a Hawser image in Firecracker.', notes, [
    'here=$(cd "$(dirname "$0")" && pwd)',
    'image=$(cd "$image" && pwd) run=$(cd "$run" && pwd)',
    'sed -e "s|\\"vmlinux\\"|\\"$image/vmlinux\\"|" -e "s|\\"initramfs.cpio\\"|\\"$image/initramfs.cpio\\"|" \\',
    '  -e "s|\\"hawser.vsock\\"|\\"$run/hawser.vsock\\"|" "$here/firecracker.json" > "$run/firecracker.json"',
    command('firecracker', '--no-api --config-file "$run/firecracker.json"', '"$@"'),
  ]);
}

function cloudHypervisor(): string {
  const append = ['console=ttyS0', ...machine.append, `hawser.listen=vsock:${vsockPort}`];
  const notes = [
    'cloud-hypervisor.sh IMAGE RUN [OPTIONS]: IMAGE is a folder of `npm run image -- --vmlinux`,',
    'whose kernel is entered by PVH.',
    '',
    `Then: hawser exec firecracker:RUN/hawser.vsock:${vsockPort} -- uname -a`,
    '(Cloud Hypervisor speaks the same protocol on its vsock socket.) The console is in RUN/console.log.',
  ];
  return script('Runs a Hawser image in Cloud Hypervisor.', notes, [
    command(
      'cloud-hypervisor',
      '--kernel "$image/vmlinux" --initramfs "$image/initramfs.cpio"',
      `--cmdline "${append.join(' ')}"`,
      `--cpus boot=${cpus} --memory size=${memoryMiB}M`,
      '--serial "file=$run/console.log" --console off',
      `--vsock "cid=${guestCid},socket=$run/hawser.vsock"`,
      '"$@"',
    ),
  ]);
}

/** libkrun is a library with a kernel of its own, whose init starts the agent: beside another init. */
function libkrun(): string {
  const words = [`"--listen", "vsock:${vsockPort}"`, 'NULL'];
  return `/*
 * Runs the agent in libkrun: libkrun ROOT SOCKET
 *
 * ROOT is a folder with a root file system to which \`npm run image -- --overlay\` has added the agent,
 * SOCKET the Unix socket to make. libkrun brings its kernel (libkrunfw) and an init that starts the agent.
 *
 *     cc -o libkrun libkrun.c -lkrun
 *     ./libkrun root agent.sock
 *     hawser exec unix:agent.sock -- uname -a
 *
 * Made by \`npm run recipes\` from images/recipes.ts: change it there.
 */
#include <errno.h>
#include <libkrun.h>
#include <stdio.h>
#include <string.h>

static int check(int result, const char *what) {
  if (result < 0) fprintf(stderr, "%s: %s\\n", what, strerror(-result));
  return result;
}

int main(int argc, char **argv) {
  /* As in the overlay's own unit: the agent's Node with the agent's libraries. */
  const char *const words[] = {"--library-path", "/opt/hawser/lib", "/opt/hawser/bin/node", "/opt/hawser/agentd.cjs",
                               ${words.join(', ')}};
  const char *const environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", NULL};
  if (argc != 3) {
    fprintf(stderr, "usage: %s ROOT SOCKET\\n", argv[0]);
    return 2;
  }
  int context = check(krun_create_ctx(), "krun_create_ctx");
  if (context < 0) return 1;
  if (check(krun_set_vm_config(context, ${cpus}, ${memoryMiB}), "krun_set_vm_config") < 0) return 1;
  if (check(krun_set_root(context, argv[1]), "krun_set_root") < 0) return 1;
  /* The last argument: libkrun listens on the host, and the guest on the vsock port. */
  if (check(krun_add_vsock_port2(context, ${vsockPort}, argv[2], true), "krun_add_vsock_port2") < 0) return 1;
  if (check(krun_set_exec(context, "/opt/hawser/lib/ld.so", words, environment), "krun_set_exec") < 0) return 1;
  /* Comes back only when it fails. */
  return check(krun_start_enter(context), "krun_start_enter") < 0;
}
`;
}

/** By file name in images/recipes/. */
export const recipes: Readonly<Record<string, string>> = {
  'qemu-microvm.sh': qemu('microvm'),
  'qemu-q35.sh': qemu('q35'),
  'firecracker.json': `${JSON.stringify(firecrackerConfig(), null, 2)}\n`,
  'firecracker.sh': firecracker(),
  'cloud-hypervisor.sh': cloudHypervisor(),
  'libkrun.c': libkrun(),
};

export const recipesFolder = fileURLToPath(new URL('recipes/', import.meta.url));

export function writeRecipes(): void {
  for (const [name, text] of Object.entries(recipes))
    writeFileSync(`${recipesFolder}${name}`, text, { mode: name.endsWith('.sh') ? 0o755 : 0o644 });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeRecipes();
