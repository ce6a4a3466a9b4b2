import { added } from './native.js';

/**
 * The part of libhawser for the first process of a guest, `agentd/native/guest.c`. As in
 * `native.ts`, a negative result is a negative errno and nothing throws.
 */

/** mount(2). */
export const mountFlags = {
  ro: 1,
  nosuid: 2,
  nodev: 4,
  noexec: 8,
  sync: 16,
  remount: 32,
  dirsync: 128,
  noatime: 1024,
  nodiratime: 2048,
  bind: 4096,
  relatime: 1 << 21,
  strictatime: 1 << 24,
} as const;

/** reboot(2). */
export const rebootCommands = {
  reboot: 0x0123_4567,
  halt: 0xcdef_0123,
  poweroff: 0x4321_fedc,
  /** Ctrl-Alt-Del becomes a SIGINT to the first process. */
  disableCtrlAltDel: 0,
} as const;

export function mount(source: string, target: string, type: string, flags: number, data: string): number {
  return addedMount(terminated(source), terminated(target), terminated(type), flags, terminated(data));
}

const addedMount = added('mount') as (
  source: Uint8Array,
  target: Uint8Array,
  type: Uint8Array,
  flags: number,
  data: Uint8Array,
) => number;

export function unmount(target: string, flags: number): number {
  return addedUnmount(terminated(target), flags);
}

const addedUnmount = added('unmount') as (target: Uint8Array, flags: number) => number;

export const sync = added('sync') as () => number;

export const reboot = added('reboot') as (command: number) => number;

export function setHostname(name: string): number {
  return addedSetHostname(terminated(name));
}

const addedSetHostname = added('setHostname') as (name: Uint8Array) => number;

export const loopbackUp = added('loopbackUp') as () => number;

function terminated(text: string): Uint8Array {
  return Buffer.from(`${text}\0`);
}
