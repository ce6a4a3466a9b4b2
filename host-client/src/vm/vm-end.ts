/** Who had the VM ended by force. */
export type KilledBy =
  /** `vm.kill()`, or `hawser vm kill`. */
  | 'request'
  /** The guest had not shut down when `drain`'s deadline came. */
  | 'drain_deadline'
  /** The process that had launched it ended, and it was not detached. */
  | 'owner_gone'
  /** Its supervisor was told to end, by SIGTERM. */
  | 'supervisor_stopped';

/** How a VM ended. */
export type VmEnd =
  /** The guest powered itself off. */
  | { readonly how: 'poweroff' }
  /** The guest asked for a reboot; it is not started again. */
  | { readonly how: 'reboot' }
  /** The guest's kernel panicked; `message` is its first line, as the guest printed it. */
  | { readonly how: 'panic'; readonly message: string }
  /** The guest ended, and this hypervisor does not tell how. */
  | { readonly how: 'exited' }
  | { readonly how: 'killed'; readonly by: KilledBy }
  /** Somebody else killed the hypervisor: a user, the kernel when out of memory. */
  | { readonly how: 'hypervisor_killed'; readonly signal: string }
  /** The hypervisor gave up by itself; `message` is the end of what it wrote to its stderr. */
  | { readonly how: 'hypervisor_failed'; readonly exitCode: number; readonly message: string }
  /** The process that holds the VM was killed; the VM went with it. */
  | { readonly how: 'supervisor_lost' };

/** For messages: `the guest's kernel panicked: sysrq triggered crash`. */
export function describeEnd(end: VmEnd): string {
  switch (end.how) {
    case 'poweroff':
      return 'the guest powered off';
    case 'reboot':
      return 'the guest asked for a reboot';
    case 'panic':
      return `the guest's kernel panicked: ${end.message}`;
    case 'exited':
      return 'the guest ended';
    case 'killed':
      return killedText[end.by];
    case 'hypervisor_killed':
      return `the hypervisor was killed by ${end.signal}`;
    case 'hypervisor_failed':
      return `the hypervisor exited with code ${end.exitCode}${end.message === '' ? '' : `: ${end.message}`}`;
    case 'supervisor_lost':
      return 'the supervisor of the VM was killed, and the VM with it';
  }
}

const killedText: Readonly<Record<KilledBy, string>> = {
  request: 'it was killed on request',
  drain_deadline: 'it was killed, because the guest had not shut down within the deadline',
  owner_gone: 'it was killed, because the process that had launched it ended',
  supervisor_stopped: 'it was killed, because its supervisor was told to end',
};
