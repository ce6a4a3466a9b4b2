import { setTimeout as delay } from 'node:timers/promises';
import { openLine } from '../transports/connect-line.js';
import { VmConsole } from './console.js';
import { processUse } from './registry/vm-metrics.js';
import type { VmState } from './registry/vm-record.js';
import type { FoundVm } from './registry/vm-registry.js';
import { VmRegistry } from './registry/vm-registry.js';
import { RunningVm } from './running-vm.js';
import { ControlClient } from './supervisor/control-client.js';
import type { HypervisorName } from './vm-options.js';

export interface VmInfo {
  readonly name: string;
  readonly id: string;
  /** Of the hypervisor; nothing while it starts. */
  readonly pid: number | undefined;
  readonly hypervisor: HypervisorName;
  readonly state: VmState;
  /** It does not end with the process that launched it. */
  readonly detached: boolean;
  /** The line to the agent, for `connect`. */
  readonly line: string;
  readonly cpus: number;
  /** What the guest was given. */
  readonly memoryMiB: number;
  /** What of it, and of the hypervisor itself, is in memory now. */
  readonly memoryBytes: number;
  readonly cpuTimeMs: number;
  /** Of one processor, within `sampleMs`. */
  readonly cpuPercent: number;
  readonly uptimeMs: number;
  /** Whether an agent holds its end of the line; nothing where that cannot be told without taking the line. */
  readonly agentReachable: boolean | undefined;
}

export interface ListVmsOptions {
  /** How long CPU use is watched. Default 100. */
  readonly sampleMs?: number;
}

const askTimeoutMs = 1000;

/** The VMs of this user, in the order in which they were launched, and what each is doing now. */
export async function listVms({ sampleMs = 100 }: ListVmsOptions = {}): Promise<VmInfo[]> {
  const found = new VmRegistry().list().sort((a, b) => a.record.createdAtMs - b.record.createdAtMs);
  if (found.length === 0) return [];
  const before = found.map(({ record }) => record.hypervisor && processUse(record.hypervisor));
  const beforeMs = performance.now();
  const [reachable] = await Promise.all([Promise.all(found.map(agentReachable)), delay(sampleMs)]);
  const watchedMs = performance.now() - beforeMs;
  return found.map(({ record }, index) => {
    const now = record.hypervisor && processUse(record.hypervisor);
    const usedMs = (now?.cpuTimeMs ?? 0) - (before[index]?.cpuTimeMs ?? 0);
    return {
      name: record.name,
      id: record.id,
      pid: record.hypervisor?.pid,
      hypervisor: record.hypervisorName,
      state: record.state,
      detached: record.detached,
      line: record.line,
      cpus: record.cpus,
      memoryMiB: record.memoryMiB,
      memoryBytes: now?.memoryBytes ?? 0,
      cpuTimeMs: now?.cpuTimeMs ?? 0,
      cpuPercent: Math.max(0, (100 * usedMs) / watchedMs),
      uptimeMs: Date.now() - record.createdAtMs,
      agentReachable: reachable[index],
    };
  });
}

/**
 * Finds a VM of this user by its name or id, whoever launched it.
 *
 * @throws HawserError `unknown_vm`, `vm_ended`
 * @example
 * await using vm = await openVm('build-7');
 * console.log(await vm.drain());
 */
export async function openVm(nameOrId: string): Promise<RunningVm> {
  const { directory, record } = new VmRegistry().find(nameOrId);
  const control = await ControlClient.connect(directory);
  try {
    return new RunningVm(directory, record, control, await VmConsole.open(directory));
  } catch (error) {
    control.close();
    throw error;
  }
}

/** QEMU sees whether the guest has the port open; vsock can be asked, since it takes many connections. */
async function agentReachable({ directory, record }: FoundVm): Promise<boolean | undefined> {
  const port = await agentPort(directory);
  if (port === 'open' || port === 'closed') return port === 'open';
  if (record.line.startsWith('unix:')) return undefined;
  try {
    const line = await openLine(record.line, { timeoutMs: askTimeoutMs });
    line.start({ readBuffer: () => new Uint8Array(1024), received() {}, writable() {}, closed() {} });
    line.close();
    return true;
  } catch {
    return false;
  }
}

async function agentPort(directory: string): Promise<string | undefined> {
  let control: ControlClient | undefined;
  try {
    control = await ControlClient.connect(directory);
    const asked = control.request({ op: 'status' });
    return (await Promise.race([asked, delay(askTimeoutMs, undefined, { ref: false })]))?.agentPort;
  } catch {
    return undefined; // starting, or ending
  } finally {
    control?.close();
  }
}
