import { constants } from 'node:os';
import { HawserError } from '@hawser/protocol';
import { EAGAIN, EINVAL, errnoName } from '../ffi/errno.js';
import * as native from '../ffi/native.js';
import { explainFailure, type FailureRecord, type LaunchFailure, stageName } from './launch-failure.js';
import { type LaunchRequest, LaunchRequestEncoder, malformedRequest } from './launch-request.js';
import { POLL_IN, type Poller, type Watch } from './poller.js';

export type { LaunchFailure } from './launch-failure.js';
export type { LaunchDraft, LaunchRequest } from './launch-request.js';

/**
 * A child from its launch on. The descriptors (-1 where there is none) are the caller's from the
 * beginning, non-blocking and close-on-exec; so is the process, also when its launch fails: wait
 * for the pidfd and reap it.
 */
export interface LaunchedProcess {
  readonly pid: number;
  readonly pidfd: number;
  /** Write end. */
  readonly stdinFd: number;
  readonly stdoutFd: number;
  readonly stderrFd: number;
  /** Not known yet whether the command was executed: `onStarted` is to come. */
  readonly pending: boolean;
  /**
   * Learns now what `onStarted` would be told, and tells it. For the owner of the pidfd: a child
   * that is dead has a known launch, though the poller may say the former first.
   */
  settle(): void;
  /** Gives up a launch that is pending: SIGKILL. `onStarted` and the pidfd follow as ever. */
  cancel(): void;
}

/** What a session takes at most: its terminal, its cgroup, pipes, status and pidfd. */
const sessionDescriptorsMax = 16;
/** Where there are plenty of descriptors, so many launches are made before it is asked again. */
const unaskedMax = 16;

/** Exactly once; `null` when the command was executed. */
export type StartedCallback = (failure: LaunchFailure | null) => void;

/**
 * Starts processes without waiting for them: from the moment of `launch` the child works its way
 * to its execve alone, and the status descriptor says how that went.
 */
export class Launcher {
  readonly #poller: Poller;
  readonly #encoder = new LaunchRequestEncoder();
  readonly #out = new Int32Array(native.launchOutLength);
  #pending = 0;
  #unasked = 0;

  constructor(poller: Poller) {
    this.#poller = poller;
  }

  /** Launches whose command was not executed yet and has not failed. */
  get launchesPending(): number {
    return this.#pending;
  }

  /**
   * @throws HawserError when there is no child: the request has a NUL in a string, or the kernel
   *   has no descriptors, memory or process left.
   */
  launch(request: LaunchRequest, onStarted: StartedCallback): LaunchedProcess {
    const bytes = this.#encoder.encode(request);
    const out = this.#out;
    const result = native.launch(this.#encoder.buffer, bytes, out);
    if (result < 0) throw this.#refused(request, result, out[native.launchOut.stage] as number);
    const launch = this.#watched(request, (failure) => {
      this.#pending--;
      onStarted(failure);
    });
    this.#pending++;
    return launch;
  }

  /** @throws HawserError `launch_failed` (EMFILE): to list and end what runs takes descriptors, too. */
  assertDescriptors(): void {
    if (this.#unasked > 0) {
      this.#unasked--;
      return;
    }
    const spare = native.descriptorsToSpare();
    this.#unasked = Math.min(unaskedMax, Math.floor(spare / sessionDescriptorsMax) - 1);
    if (spare >= sessionDescriptorsMax) return;
    throw new HawserError(
      'launch_failed',
      `no process: another may need ${sessionDescriptorsMax} descriptors, and ${Math.max(0, spare)} are to spare`,
      { stage: 'pipe', errno: 'EMFILE' },
    );
  }

  /** Does what can be done of the next launch when nobody waits for it. */
  prepare(): void {
    native.launchAhead();
  }

  /** The kernel may refuse to watch one descriptor more (ENOSPC, ENOMEM): then nobody owns the child. */
  #watched(request: LaunchRequest, onOver: StartedCallback): Launch {
    const out = this.#out;
    const { pid, pidfd, status, stdin, stdout, stderr } = native.launchOut;
    try {
      return new Launch(this.#poller, request, out, onOver);
    } catch (cause) {
      native.signalPidfd(out[pidfd] as number, constants.signals.SIGKILL);
      for (const at of [pidfd, status, stdin, stdout, stderr]) {
        if ((out[at] as number) >= 0) native.close(out[at] as number);
      }
      // Its memory is not released: without the status descriptor nobody learns when it may be.
      throw new HawserError(
        'launch_failed',
        `process ${out[pid]} for ${String(request.candidates[0])} cannot be watched`,
        { cause },
      );
    }
  }

  #refused(request: LaunchRequest, result: number, stageNumber: number): HawserError {
    const stage = stageName(stageNumber);
    if (stage === 'validate' && result === -EINVAL) return malformedRequest(request);
    const errno = errnoName(result);
    return new HawserError(
      'launch_failed',
      `no process for ${String(request.candidates[0])}: ${stage} failed with ${errno}`,
      { stage, errno },
    );
  }
}

/** One launch: owns the status descriptor and the native memory until the launch is over. */
class Launch implements LaunchedProcess {
  readonly pid: number;
  readonly pidfd: number;
  readonly stdinFd: number;
  readonly stdoutFd: number;
  readonly stderrFd: number;
  readonly #statusFd: number;
  readonly #handle: native.LaunchHandle;
  readonly #watch: Watch;
  readonly #onOver: StartedCallback;
  #request: LaunchRequest | null;
  #record: FailureRecord | null = null;

  constructor(poller: Poller, request: LaunchRequest, out: Int32Array, onOver: StartedCallback) {
    this.pid = out[native.launchOut.pid] as number;
    this.pidfd = out[native.launchOut.pidfd] as number;
    this.stdinFd = out[native.launchOut.stdin] as number;
    this.stdoutFd = out[native.launchOut.stdout] as number;
    this.stderrFd = out[native.launchOut.stderr] as number;
    this.#statusFd = out[native.launchOut.status] as number;
    this.#handle = out[native.launchOut.handle] as number;
    this.#request = request;
    this.#onOver = onOver;
    this.#watch = poller.watch(this.#statusFd, POLL_IN, () => this.settle());
  }

  get pending(): boolean {
    return this.#request !== null;
  }

  settle(): void {
    if (this.#request === null) return;
    let count = native.read(this.#statusFd, statusBytes, 0, statusBytes.length);
    if (count === statusBytes.length) {
      const [stage, errno, detail, mode] = statusWords as unknown as [number, number, number, number];
      this.#record = { stage, errno, detail, mode };
      count = native.read(this.#statusFd, statusBytes, 0, statusBytes.length);
    }
    // The child that wrote the record is still leaving; only end of file frees its memory.
    if (count === -EAGAIN) return;
    this.#over(this.#request);
  }

  cancel(): void {
    if (this.#request !== null) native.signalPidfd(this.pidfd, constants.signals.SIGKILL);
  }

  #over(request: LaunchRequest): void {
    this.#request = null;
    this.#watch.close();
    native.launchRelease(this.#handle);
    this.#onOver(this.#record === null ? null : explainFailure(request, this.#record));
  }
}

/** `struct failure`: written by one write, below PIPE_BUF, so it is read whole or not at all. */
const statusWords = new Int32Array(4);
const statusBytes = new Uint8Array(statusWords.buffer);
