import { constants } from 'node:os';
import type { GuestEnd } from '../hypervisors/hypervisor.js';
import type { KilledBy, VmEnd } from '../vm-end.js';

export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: string | null;
  /** The end of what the hypervisor wrote to its stderr. */
  readonly stderr: string;
  /** What the hypervisor itself said of the guest's end. */
  readonly guestEnd: GuestEnd | undefined;
  /** Set before we killed it. */
  readonly killedBy: KilledBy | undefined;
  /** The end of the console's log. */
  readonly console: string;
}

/**
 * What became of the VM, from what is known of its hypervisor's end. A reset may be a panic (`panic=-1` reboots at
 * once), which only the console tells; since the guest writes the console, it may lie there about itself.
 */
export function endOfProcess({ code, signal, stderr, guestEnd, killedBy, console }: ProcessEnd): VmEnd {
  if (killedBy !== undefined) return { how: 'killed', by: killedBy };
  if (signal !== null) return { how: 'hypervisor_killed', signal };
  const panic = panicMessage(console);
  switch (guestEnd) {
    case 'poweroff':
      return { how: 'poweroff' };
    case 'panic':
      return { how: 'panic', message: panic ?? '' };
    case 'reset':
      return panic === undefined ? { how: 'reboot' } : { how: 'panic', message: panic };
    case undefined:
      break;
  }
  // QEMU catches SIGTERM, SIGINT and SIGHUP and exits with 0: "terminating on signal 15 from pid 1234 (kill)".
  const caught = /terminating on signal (\d+)/.exec(stderr)?.[1];
  if (caught !== undefined) return { how: 'hypervisor_killed', signal: signalName(Number(caught)) };
  if (code !== 0) return { how: 'hypervisor_failed', exitCode: code ?? -1, message: stderr.trim() };
  if (panic !== undefined) return { how: 'panic', message: panic };
  // The kernel says so at the level of emergencies, which `quiet` lets through.
  if (/\breboot: Power down\b/.test(console)) return { how: 'poweroff' };
  if (/\breboot: Restarting system\b/.test(console)) return { how: 'reboot' };
  return { how: 'exited' };
}

function panicMessage(console: string): string | undefined {
  return [...console.matchAll(/Kernel panic - not syncing: ([^\r\n]*)/g)].at(-1)?.[1]?.trim();
}

function signalName(number: number): string {
  return Object.entries(constants.signals).find(([, value]) => value === number)?.[0] ?? `signal ${number}`;
}
