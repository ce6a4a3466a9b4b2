import type { Payload, Rlimit } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import { systemCallError } from '../ffi/errno.js';
import * as native from '../ffi/native.js';
import type { ProcessTree } from '../processes/containment/process-tree.js';
import type { PseudoTerminal } from '../processes/pseudo-terminal.js';
import {
  getLimit,
  limitInfinity,
  limitNames,
  limitNumber,
  resourceLimit,
  setLimit,
} from '../processes/rlimits.js';
import { signalName } from '../processes/signals.js';

/** What is done to the processes of a session that runs. */
export class SessionControl {
  readonly #leader: { readonly pid: number; readonly pidfd: number };
  readonly #terminal: PseudoTerminal | undefined;
  readonly #tree: ProcessTree;
  /** What hosts have sent the leader, by name: one of these may be what it dies of. */
  readonly #signalled = new Set<string>();

  constructor(
    leader: { readonly pid: number; readonly pidfd: number },
    terminal: PseudoTerminal | undefined,
    tree: ProcessTree,
  ) {
    this.#leader = leader;
    this.#terminal = terminal;
    this.#tree = tree;
  }

  /** Whether a host has sent the leader that signal. */
  hasSent(signal: string): boolean {
    return this.#signalled.has(signal) || (signal === 'SIGKILL' && this.#tree.killed);
  }

  /** To the leader's group; one that is gone already is no error. Only while the leader is not reaped. */
  killGroup(signal: number): void {
    native.kill(-this.#leader.pid, signal);
  }

  /** SIGKILL to every process of the session. Who not even that ends hangs in the kernel: nobody waits for it here. */
  killTree(): void {
    this.#tree.killTree().catch((error: unknown) => {
      queueMicrotask(() => {
        throw error;
      });
    });
  }

  /** @throws HawserError `system_call_failed`, `not_a_terminal`. */
  signal(number: number, target: Payload<'Signal'>['target']): void {
    const { pid, pidfd } = this.#leader;
    switch (target ?? 'group') {
      case 'leader':
        check('pidfd_send_signal', native.signalPidfd(pidfd, number), `process ${pid}`);
        this.#signalled.add(signalName(number));
        return;
      case 'group':
        check('kill', native.kill(-pid, number), `process group ${pid}`);
        this.#signalled.add(signalName(number));
        return;
      case 'foreground':
        this.#signalForeground(number);
        return;
      case 'tree':
        this.#tree.signalTree(number);
        this.#signalled.add(signalName(number));
        return;
    }
  }

  /** @throws HawserError `not_a_terminal`, `system_call_failed`. */
  resize(size: Payload<'Resize'>): void {
    this.#assertTerminal().resize(size);
  }

  /** Sets limits of the leader. @returns all that are in force then. @throws HawserError, and then none is set that was wrong. */
  rlimits(set: readonly Rlimit[]): Rlimit[] {
    const { pid } = this.#leader;
    // All are checked before the first is set.
    const limits = set.map(({ resource, soft, hard }) => resourceLimit(resource, soft, hard));
    for (const limit of limits) setLimit(pid, limit);
    return limitNames.map((resource) => {
      const { soft, hard } = getLimit(pid, limitNumber(resource));
      return { resource, soft: limitOnWire(soft), hard: limitOnWire(hard) };
    });
  }

  #signalForeground(number: number): void {
    const terminal = this.#assertTerminal();
    const group = native.foregroundGroup(terminal.masterFd);
    // 0 is a terminal that has no foreground group now: the session's leader is what is left.
    if (group < 0) throw systemCallError('ioctl TIOCGPGRP', group, terminal.slavePath);
    const target = group === 0 ? this.#leader.pid : group;
    check('kill', native.kill(-target, number), `foreground group ${target}`);
    if (target === this.#leader.pid) this.#signalled.add(signalName(number));
  }

  #assertTerminal(): PseudoTerminal {
    if (this.#terminal === undefined)
      throw new HawserError('not_a_terminal', `the session of process ${this.#leader.pid} has no terminal`);
    return this.#terminal;
  }
}

function limitOnWire(value: bigint): number | bigint | 'unlimited' {
  if (value === limitInfinity) return 'unlimited';
  return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
}

function check(name: string, result: number, what: string): void {
  if (result < 0) throw systemCallError(name, result, what);
}
