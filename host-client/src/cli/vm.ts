import type { VmInfo } from '../index.js';
import { listVms, openVm } from '../index.js';
import { describeEnd } from '../vm/vm-end.js';
import { exitCodes } from './exit-code.js';
import { formatBytes, formatDuration } from './format-amount.js';
import { harmless, printError, printLine, printOutput, toJson } from './report.js';

/** `hawser vm ls` */
export async function listCommand(flags: { readonly json?: true }): Promise<number> {
  return reporting(async () => {
    const vms = await listVms();
    await printOutput(flags.json ? toJson(vms) : harmless(table(vms)));
  });
}

/** `hawser vm stop`: all of them at once. */
export async function stopCommand(
  names: readonly string[],
  flags: { readonly timeout: number },
): Promise<number> {
  return forEach(names, async (name) => {
    await using vm = await openVm(name);
    const end = await vm.drain({ deadlineMs: flags.timeout });
    await printOutput(harmless(vm.name));
    if (end.how !== 'poweroff') await printLine(`hawser: ${harmless(`${vm.name}: ${describeEnd(end)}`)}`);
  });
}

/** `hawser vm kill` */
export async function killCommand(names: readonly string[]): Promise<number> {
  return forEach(names, async (name) => {
    await using vm = await openVm(name);
    await vm.kill();
    await printOutput(harmless(vm.name));
  });
}

/** `hawser vm logs`: the console as it is, bytes that steer a terminal taken out where it is one. */
export async function logsCommand(name: string, flags: { readonly follow?: true }): Promise<number> {
  return reporting(async () => {
    await using vm = await openVm(name);
    const over = new AbortController();
    if (flags.follow) void vm.wait().then(() => over.abort());
    else over.abort();
    for await (const chunk of vm.console.follow(over.signal))
      await write(process.stdout.isTTY ? harmless(chunk.toString('utf8').replaceAll('\r\n', '\n')) : chunk);
  });
}

function table(vms: readonly VmInfo[]): string {
  const header = ['NAME', 'STATE', 'PID', 'CPU', 'MEMORY', 'UP', 'AGENT', 'LINE'];
  const rows = vms.map((vm) => [
    vm.name,
    vm.detached ? `${vm.state}, detached` : vm.state,
    String(vm.pid ?? '-'),
    `${vm.cpuPercent.toFixed(0)} %`,
    `${formatBytes(vm.memoryBytes)} of ${vm.memoryMiB} MiB`,
    formatDuration(vm.uptimeMs),
    vm.agentReachable === undefined ? 'unknown' : vm.agentReachable ? 'reachable' : 'not reachable',
    vm.line,
  ]);
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] as string).length)),
  );
  return [header, ...rows]
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] as number))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Each on its own: one that fails does not keep the others. */
async function forEach(names: readonly string[], work: (name: string) => Promise<void>): Promise<number> {
  const codes = await Promise.all(names.map((name) => reporting(() => work(name))));
  return Math.max(...codes);
}

async function reporting(work: () => Promise<void>): Promise<number> {
  try {
    await work();
    return 0;
  } catch (error) {
    await printError(error, undefined);
    return exitCodes.hawserFailed;
  }
}

function write(chunk: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(chunk, (error) => (error ? reject(error) : resolve()));
  });
}
