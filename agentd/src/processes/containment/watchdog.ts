import { existsSync } from 'node:fs';
import { join } from 'node:path';
import * as native from '../../ffi/native.js';
import { nativeFolder } from '../../ffi/native.js';
import { reapPidfd } from '../exit-status.js';
import type { LaunchedProcess, Launcher } from '../launcher.js';
import type { Poller } from '../poller.js';
import { POLL_IN } from '../poller.js';

export const watchdogProgram = join(nativeFolder, 'hawser-watchdog');

/**
 * A small process that ends the sessions when the agent is gone, however it went: it reads from a pipe
 * that only the agent holds the other end of (native/watchdog.c). It is in no session, and in none of
 * the agent's cgroups.
 */
export class Watchdog {
  readonly #poller: Poller;
  readonly #launcher: Launcher;
  readonly #args: readonly string[];
  readonly #onTrouble: (reason: string) => void;
  readonly #onPid: (pid: number, lives: boolean) => void;
  #process: LaunchedProcess | undefined;

  /**
   * @param args as native/watchdog.c takes them.
   * @param onPid tells of each process that it is a child of the agent, and is waited for here.
   * @param onTrouble it is not there, or was killed: it is started again with the next session.
   */
  constructor(
    poller: Poller,
    launcher: Launcher,
    args: readonly string[],
    onPid: (pid: number, lives: boolean) => void,
    onTrouble: (reason: string) => void,
  ) {
    this.#poller = poller;
    this.#launcher = launcher;
    this.#args = args;
    this.#onPid = onPid;
    this.#onTrouble = onTrouble;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Starts it, unless it runs. */
  ensure(): void {
    if (this.#process !== undefined) return;
    if (!existsSync(watchdogProgram)) {
      this.#onTrouble(`${watchdogProgram} is missing (make -C agentd/native)`);
      return;
    }
    try {
      this.#start();
    } catch (error) {
      this.#onTrouble(String(error));
    }
  }

  #start(): void {
    const started = this.#launcher.launch(
      {
        candidates: [Buffer.from(watchdogProgram)],
        argv: ['hawser-watchdog', ...this.#args].map((argument) => Buffer.from(argument)),
        env: [],
        cwd: Buffer.from('/'),
        stdio: { kind: 'pipes', stdin: 'pipe' },
        rlimits: [],
        noNewPrivileges: false,
      },
      (failure) => {
        if (failure !== null) this.#onTrouble(failure.message);
      },
    );
    this.#process = started;
    this.#onPid(started.pid, true);
    native.close(started.stdoutFd);
    native.close(started.stderrFd);
    const watch = this.#poller.watch(started.pidfd, POLL_IN, () => {
      started.settle();
      if (reapPidfd(started.pidfd) === null) return;
      watch.close();
      native.close(started.stdinFd);
      this.#process = undefined;
      this.#onPid(started.pid, false);
      this.#onTrouble(`process ${started.pid} has ended`);
    });
  }
}
