import { resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { HawserError } from '@hawser/protocol';
import { Agent } from '../agent.js';
import { connect } from '../connect.js';
import { openAnnounced } from '../transports/announced-line.js';
import { openLine } from '../transports/connect-line.js';
import { VmConsole } from './console.js';
import { lineSocket } from './hypervisors/guest-lines.js';
import type { VmRecord } from './registry/vm-record.js';
import { readRecord } from './registry/vm-record.js';
import { planOfSnapshot } from './snapshot-files.js';
import { ControlClient } from './supervisor/control-client.js';
import { Watchdog } from './supervisor/watchdog.js';
import { Vm } from './vm.js';
import type { VmEnd } from './vm-end.js';
import { describeEnd } from './vm-end.js';
import { checkVmName } from './vm-name.js';
import type { LaunchVmOptions } from './vm-options.js';
import { vmDefaults } from './vm-options.js';
import type { VmPlan } from './vm-plan.js';
import { planVm } from './vm-plan.js';

/** Between attempts where the guest's port refuses until the agent listens on it, as vsock does. */
const tryAgainMs = 50;
/** A line closes a moment before the word on the VM's end is here. */
const endWaitMs = 5000;
const consoleTailCharacters = 1000;

/** What a VM that goes on from a snapshot may be given; all else is as it was. */
export type RestoreVmOptions = Pick<
  LaunchVmOptions,
  'name' | 'vmsMax' | 'bootTimeoutMs' | 'connect' | 'onProgress' | 'signal'
>;

/**
 * Boots a VM and connects to the agent in it.
 *
 * @returns the VM when the agent has answered
 * @throws HawserError `invalid_argument`, `missing_dependency`, `disk_in_use`, `too_many_vms`, `vm_name_in_use`,
 *   `vm_launch_failed` with the end of the console, `rejected`, `aborted`. Nothing of the VM is left then.
 * @example
 * await using vm = await launchVm({ image: 'image', memoryMiB: 512 });
 * console.log((await vm.agent.exec('uname', ['-r'])).stdout);
 * console.log(await vm.drain()); // { how: 'poweroff' }
 */
export async function launchVm(options: LaunchVmOptions = {}): Promise<Vm> {
  return start(planVm(options), options);
}

/**
 * Starts a VM that goes on where `vm.snapshot` saved another. Disks that are written are copied from the snapshot into
 * the new VM's private folder, and go with it.
 *
 * @throws HawserError as `launchVm`
 */
export async function restoreVm(directory: string, options: RestoreVmOptions = {}): Promise<Vm> {
  const name = options.name === undefined ? undefined : checkVmName(options.name);
  const plan = planOfSnapshot(resolve(directory), name);
  return start({ ...plan, vmsMax: options.vmsMax ?? plan.vmsMax }, options);
}

async function start(plan: VmPlan, options: RestoreVmOptions): Promise<Vm> {
  options.signal?.throwIfAborted();
  const { watchdog, directory: begun } = Watchdog.start(plan);
  // What was aborted ends as what was abandoned: the supervisor sees the pipe close.
  const onAbort = (): void => watchdog.close();
  options.signal?.addEventListener('abort', onAbort, { once: true });
  let control: ControlClient | undefined;
  let console: VmConsole | undefined;
  try {
    options.onProgress?.('supervisor');
    const directory = await begun;
    const record = recordOf(directory);
    control = await ControlClient.connect(directory);
    console = await VmConsole.open(directory);
    options.onProgress?.('hypervisor');
    const agent = await connectAgent(record, control, console, options);
    await control.request({ op: 'activate' });
    options.onProgress?.('agent');
    return new Vm({ directory, record }, { control, console, agent, watchdog });
  } catch (error) {
    watchdog.close();
    if (control !== undefined) await control.waitForEnd();
    control?.close();
    await console?.close();
    if (options.signal?.aborted === true)
      throw new HawserError('aborted', 'the launch of the VM was aborted', { cause: options.signal.reason });
    throw error;
  } finally {
    options.signal?.removeEventListener('abort', onAbort);
  }
}

function recordOf(directory: string): VmRecord {
  const record = readRecord(directory);
  if (record === undefined) throw new HawserError('vm_launch_failed', `the VM in ${directory} is gone again`);
  return record;
}

async function connectAgent(
  record: VmRecord,
  control: ControlClient,
  console: VmConsole,
  options: RestoreVmOptions,
): Promise<Agent> {
  const timeoutMs = options.bootTimeoutMs ?? vmDefaults.bootTimeoutMs;
  const deadline = performance.now() + timeoutMs;
  const ended = new AbortController();
  void control.ended.then(() => ended.abort(new HawserError('line_closed', 'the VM has ended')));
  const signal =
    options.signal === undefined ? ended.signal : AbortSignal.any([ended.signal, options.signal]);
  for (;;) {
    const leftMs = Math.max(1, deadline - performance.now());
    try {
      const connectOptions = { ...options.connect, handshakeTimeoutMs: leftMs, signal };
      if (!isSerial(record)) return await connect(record.line, connectOptions);
      const line = await openAnnounced(record.line, leftMs / 2, signal);
      return await Agent.greet(line, connectOptions, (again) => openLine(record.line, { signal: again }));
    } catch (error) {
      if (!(error instanceof HawserError) || options.signal?.aborted === true) throw error;
      if (error.code === 'line_open_failed' && leftMs > tryAgainMs && control.end === undefined) {
        await delay(tryAgainMs);
        continue;
      }
      throw await bootError(error, timeoutMs, control, console);
    }
  }
}

/** A line at whose other end nobody listens while the guest boots. */
function isSerial({ line }: VmRecord): boolean {
  return line.endsWith(`/${lineSocket('uart')}`) || line.endsWith(`/${lineSocket('console')}`);
}

/** Why there is no agent: the VM ended, or it did not answer. The console often says more. */
async function bootError(
  cause: HawserError,
  timeoutMs: number,
  control: ControlClient,
  console: VmConsole,
): Promise<HawserError> {
  if (cause.code === 'rejected' || cause.code === 'unsupported') return cause;
  const lineGone = cause.code !== 'handshake_timeout';
  const end = control.end ?? (lineGone ? await soon(control.ended) : undefined);
  const what =
    end === undefined
      ? `the agent did not answer within bootTimeoutMs ${timeoutMs} (${cause.message})`
      : `the VM ended before its agent answered: ${describeEnd(end)}`;
  const printed = consoleEnd(await console.text());
  return new HawserError('vm_launch_failed', `${what}; ${printed}`, { cause });
}

/** Up to a panic's first line: the registers and the stack that follow it say less than what came before. */
function consoleEnd(text: string): string {
  const panic = /Kernel panic - not syncing: .*/.exec(text);
  const whole = panic === null ? text : text.slice(0, panic.index + panic[0].length);
  // On a console that is the agent's line too, frames stand between the lines.
  const readable = whole.replaceAll(/[^\P{C}\n\t]/gu, '');
  const tail = readable.slice(-consoleTailCharacters).trim();
  return tail === '' ? 'its console is empty' : `its console ends with:\n${tail}`;
}

async function soon(ended: Promise<VmEnd>): Promise<VmEnd | undefined> {
  const timer = new AbortController();
  try {
    return await Promise.race([ended, delay(endWaitMs, undefined, { signal: timer.signal })]);
  } finally {
    timer.abort();
  }
}
