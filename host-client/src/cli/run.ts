import type { Vm } from '../index.js';
import { launchVm } from '../index.js';
import type { VmRoot } from '../vm/image-directory.js';
import type { LaunchVmOptions, VmDisk, VmLine } from '../vm/vm-options.js';
import type { CommandFlags, CommandWords, LocalEnds } from './exec.js';
import { localEndsOf, runOn, withLocalEnds } from './exec.js';
import { ProgressLine } from './progress-line.js';
import { harmless, printLine, printOutput } from './report.js';

/** What the options of `hawser run` hold, under commander's names. */
export interface RunFlags extends CommandFlags {
  readonly image?: string;
  readonly root?: VmRoot;
  readonly kernel?: string;
  readonly kernelArg?: readonly string[];
  readonly memory?: number;
  readonly cpus?: number;
  readonly disk?: readonly VmDisk[];
  readonly name?: string;
  readonly line?: VmLine;
  readonly hypervisor?: LaunchVmOptions['hypervisor'];
  readonly accel?: LaunchVmOptions['accelerator'];
  readonly bootTimeout: number;
  readonly stopTimeout: number;
  readonly detach?: true;
}

/** `hawser run`: boots a VM, runs the command in it, stops the VM. Resolves with the exit code, everything written. */
export function run(command: CommandWords, flags: RunFlags): Promise<number> {
  return withLocalEnds(localEndsOf(flags), async (ends) => {
    await using vm = await boot(flags, ends);
    const code = await runOn(vm.agent, command, flags, ends);
    const end = await vm.drain({ deadlineMs: flags.stopTimeout });
    if (end.how === 'killed')
      await printLine(`hawser: the guest did not shut down in time, ${vm.name} was killed`);
    return code;
  });
}

/** `hawser run --detach`: boots a VM, prints its name, and leaves it. */
export function runDetached(flags: RunFlags): Promise<number> {
  return withLocalEnds(localEndsOf(flags), async (ends) => {
    await using vm = await boot(flags, ends);
    await vm.detach();
    await printOutput(harmless(vm.name));
    return 0;
  });
}

async function boot(flags: RunFlags, { signals }: LocalEnds): Promise<Vm> {
  using progress = new ProgressLine();
  return await launchVm({
    ...launchOptions(flags),
    signal: signals.aborted,
    onProgress: (step) => {
      if (step === 'supervisor') progress.show('starting the hypervisor');
      if (step === 'hypervisor') progress.show('booting');
    },
  });
}

function launchOptions(flags: RunFlags): LaunchVmOptions {
  return {
    bootTimeoutMs: flags.bootTimeout,
    ...(flags.image !== undefined && { image: flags.image }),
    ...(flags.root !== undefined && { root: flags.root }),
    ...(flags.kernel !== undefined && { kernel: flags.kernel }),
    ...(flags.kernelArg !== undefined && { kernelArgs: flags.kernelArg }),
    ...(flags.memory !== undefined && { memoryMiB: flags.memory }),
    ...(flags.cpus !== undefined && { cpus: flags.cpus }),
    ...(flags.disk !== undefined && { disks: flags.disk }),
    ...(flags.name !== undefined && { name: flags.name }),
    ...(flags.line !== undefined && { lines: [flags.line] }),
    ...(flags.hypervisor !== undefined && { hypervisor: flags.hypervisor }),
    ...(flags.accel !== undefined && { accelerator: flags.accel }),
  };
}
