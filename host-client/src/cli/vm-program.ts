import type { Command } from 'commander';
import { Option } from 'commander';
import { addCommandOptions, checked, duration } from './command-options.js';
import { runHelp, vmHelp } from './help-text.js';
import { parseDisk } from './parse-disk.js';
import { parseDuration } from './parse-duration.js';
import { parseWhole } from './parse-whole.js';
import type { RunFlags } from './run.js';

type Ended = (exitCode: number) => void;

/** `hawser run` */
export function addRun(program: Command, command: readonly string[] | undefined, ended: Ended): void {
  const run = program
    .command('run')
    .summary('boot a VM, run a command in it, stop the VM')
    .description(
      'Boots a VM, runs a command in it as "hawser exec" does, and stops the VM. The VM ends with hawser, however that ends.',
    )
    .usage('[options] -- COMMAND [ARGUMENT...]')
    .addOption(new Option('--image <DIR>', 'a folder that "npm run image" made').env('HAWSER_IMAGE'))
    .addOption(
      new Option('--root <KIND>', "the guest's root file system (default: memory)").choices([
        'memory',
        'erofs',
        'ext4',
        'ext4-writable',
      ]),
    )
    .option('--kernel <FILE>', "a kernel instead of the image's")
    .addOption(appended('--kernel-arg <WORD>', "a word behind the kernel's command line", (text) => text))
    .addOption(whole('--memory <MIB>', 'memory of the guest (default: 512)'))
    .addOption(whole('--cpus <N>', 'processors of the guest (default: 1)'))
    .addOption(appended('--disk <PATH[:ro]>', 'a raw image; :ro for one that is only read', parseDisk))
    .option('--name <NAME>', 'name of the VM (default: made up)')
    .addOption(
      new Option('--line <KIND>', 'line to the agent (default: virtio, with the others vsock)').choices([
        'virtio',
        'uart',
        'console',
        'vsock',
      ]),
    )
    .addOption(
      new Option('--hypervisor <NAME>', 'default: qemu').choices(['qemu', 'firecracker', 'cloud-hypervisor']),
    )
    .addOption(
      new Option('--accel <KIND>', 'of QEMU (default: $HAWSER_QEMU_ACCEL, else auto)').choices([
        'auto',
        'kvm',
        'tcg',
      ]),
    )
    .addOption(withDefault('--boot-timeout <DURATION>', 'give up when no agent answers for so long', '60s'))
    .addOption(withDefault('--stop-timeout <DURATION>', 'kill a guest that takes longer to shut down', '15s'))
    .option('-d, --detach', 'print the name of the VM and leave it running; takes no command');
  addCommandOptions(run)
    .addHelpText('after', runHelp)
    .action(async (flags: RunFlags, self: Command) => {
      const [cmd, ...args] = command ?? [];
      if (flags.detach && cmd !== undefined)
        self.error('error: --detach takes no command: run it then, with: hawser exec vm:NAME -- COMMAND');
      if (!flags.detach && cmd === undefined)
        self.error('error: no command: it comes after "--", as in: hawser run -- uname -a');
      const { run: runIn, runDetached } = await import('./run.js');
      ended(cmd === undefined ? await runDetached(flags) : await runIn([cmd, ...args], flags));
    });
}

/** `hawser vm ls|stop|kill|logs` */
export function addVm(program: Command, ended: Ended): void {
  const vm = program
    .command('vm')
    .summary('list, stop and kill VMs, and show their consoles')
    .description('Lists, stops and kills the VMs of this user, and shows what their consoles printed.')
    .addHelpText('after', vmHelp);
  vm.command('ls')
    .summary('list the VMs that run')
    .description(
      'Lists the VMs that run: state, processor use, memory, whether an agent answers, and on which line.',
    )
    .option('--json', 'print everything as one line of JSON')
    .action(async (flags: { json?: true }) => {
      const { listCommand } = await import('./vm.js');
      ended(await listCommand(flags));
    });
  vm.command('stop')
    .summary('shut VMs down in order')
    .description('Asks guests to shut down in order, and kills those that take longer.')
    .argument('<NAME...>', 'names or ids of VMs')
    .addOption(withDefault('--timeout <DURATION>', 'kill a guest that takes longer', '15s'))
    .action(async (names: string[], flags: { timeout: number }) => {
      const { stopCommand } = await import('./vm.js');
      ended(await stopCommand(names, flags));
    });
  vm.command('kill')
    .summary('end VMs at once')
    .description('Ends VMs at once: what a guest had not written to its disks is lost.')
    .argument('<NAME...>', 'names or ids of VMs')
    .action(async (names: string[]) => {
      const { killCommand } = await import('./vm.js');
      ended(await killCommand(names));
    });
  vm.command('logs')
    .summary('show what the console of a VM printed')
    .description('Shows what the console of a VM printed.')
    .argument('<NAME>', 'name or id of a VM')
    .option('-f, --follow', 'and what it prints from now on, until the VM ends')
    .action(async (name: string, flags: { follow?: true }) => {
      const { logsCommand } = await import('./vm.js');
      ended(await logsCommand(name, flags));
    });
}

function whole(flags: string, description: string): Option {
  return new Option(flags, description).argParser(checked(parseWhole));
}

/** An option that may be given several times. */
function appended(flags: string, description: string, parse: (text: string) => unknown): Option {
  return new Option(flags, description).argParser(
    checked((text: string, before: readonly unknown[] = []) => [...before, parse(text)]),
  );
}

function withDefault(flags: string, description: string, value: string): Option {
  return duration(flags, description).default(parseDuration(value), value);
}
