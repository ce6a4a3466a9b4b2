import { library } from './native.js';

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

export const mount = library.func(
  'int32_t hawser_mount(const char *source, const char *target, const char *type, uint32_t flags, const char *data)',
) as (source: string, target: string, type: string, flags: number, data: string) => number;

export const unmount = library.func('int32_t hawser_unmount(const char *target, int32_t flags)') as (
  target: string,
  flags: number,
) => number;

export const sync = library.func('int32_t hawser_sync()') as () => number;

export const reboot = library.func('int32_t hawser_reboot(uint32_t command)') as (command: number) => number;

export const setHostname = library.func('int32_t hawser_set_hostname(const char *name)') as (
  name: string,
) => number;

export const loopbackUp = library.func('int32_t hawser_loopback_up()') as () => number;
