import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { systemCallError } from '../ffi/errno.js';
import * as guest from '../ffi/guest.js';
import * as native from '../ffi/native.js';
import type { Log } from '../log.js';
import { pause } from '../pause.js';
import { mountedTargets, systemMounts } from './mounts.js';

export type PowerMode = 'poweroff' | 'reboot' | 'halt';

const { SIGTERM, SIGKILL } = constants.signals;

/** How long what is no session may take to end, ms: a session's own grace is over by then. */
const strayGraceMs = 1_000;
/** How long the kernel may take to end what was killed, ms. */
const killedMs = 1_000;
const lookMs = 10;

/**
 * Ends every process but this one: TERM, and after `graceMs` KILL.
 *
 * The kernel tells nobody of the death of another's child, so /proc is looked at. Zombies among
 * them are reaped by whoever has them, at last by the first process.
 */
export async function endProcesses(graceMs = strayGraceMs): Promise<void> {
  if (others() === 0) return;
  native.kill(-1, SIGTERM);
  if (await allGone(graceMs)) return;
  native.kill(-1, SIGKILL);
  await allGone(killedMs);
}

async function allGone(withinMs: number): Promise<boolean> {
  const until = performance.now() + withinMs;
  while (others() > 0) {
    if (performance.now() >= until) return false;
    await pause(lookMs);
  }
  return true;
}

/** Processes that are neither this one, nor the kernel's own, nor dead already. */
function others(): number {
  let count = 0;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      // kthreadd is process 2, and the parent of all the kernel's.
      if (name !== '2' && parent !== '2' && state !== 'Z' && state !== 'X') count++;
    } catch {
      // It ended while it was looked at.
    }
  }
  return count;
}

/** Brings everything onto the disks and takes them away from the kernel, as far as they are not in use. */
export function releaseFileSystems(log: Log): void {
  guest.sync();
  const system = new Set(systemMounts.map(({ target }) => target));
  const disks = mountedTargets().filter((target) => target !== '/' && !system.has(target));
  for (const target of disks.toReversed()) {
    if (guest.unmount(target, 0) < 0 && makeReadOnly(target) < 0)
      log.warn({ target }, 'still in use, and neither unmounted nor made read-only');
  }
  // What is in memory only cannot be remounted, and need not be.
  makeReadOnly('/');
  guest.sync();
}

function makeReadOnly(target: string): number {
  return guest.mount('none', target, 'none', guest.mountFlags.remount | guest.mountFlags.ro, '');
}

/** Does not come back, but where the kernel refuses. */
export function endMachine(mode: PowerMode, log: Log): void {
  const result = guest.reboot(guest.rebootCommands[mode]);
  if (result < 0)
    log.error({ reason: systemCallError('reboot', result, mode).message }, 'the machine goes on');
}
