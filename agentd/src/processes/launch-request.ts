import { HawserError } from '@hawser/protocol';
import type { ResourceLimit } from './rlimits.js';

/** What the launcher is to start. Every string is bytes: Linux paths, arguments and variables are. */
export interface LaunchRequest {
  /** Paths to try in order, as execvpe(3) goes through PATH. */
  readonly candidates: readonly Buffer[];
  readonly argv: readonly Buffer[];
  /** `NAME=value`. */
  readonly env: readonly Buffer[];
  readonly cwd?: Buffer;
  readonly stdio: LaunchStdio;
  readonly rlimits: readonly ResourceLimit[];
  /** The nice value itself, not a difference. */
  readonly nice?: number;
  readonly oomScoreAdj?: number;
  /** 022 where not given. */
  readonly umask?: number;
  readonly credentials?: Credentials;
  readonly noNewPrivileges: boolean;
  /** A descriptor of a cgroup v2's directory, in which the child is born; stays the caller's. */
  readonly cgroupFd?: number;
  /** prctl(2), PR_SET_TIMERSLACK, ns; 0 leaves it. */
  readonly timerSlackNs?: number;
}

/** `stdin: 'null'` is /dev/null, also beside a terminal: an end that no change of the terminal's mode undoes. */
export type LaunchStdio =
  | { readonly kind: 'pipes'; readonly stdin: 'pipe' | 'null' }
  | { readonly kind: 'terminal'; readonly stdin?: 'pipe' | 'null'; readonly slavePath: string };

export interface Credentials {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

// As in native/launch.h, enum flag and struct request_header.
const flagStdinNull = 1;
const flagTerminal = 2;
const flagCredentials = 4;
const flagNoNewPrivileges = 8;
const flagNice = 16;
const flagOomScore = 32;
const flagCwd = 64;

const headerBytes = 64;
const rlimitBytes = 24;
const defaultUmask = 0o022;

/** Encodes requests for the native launcher, one after the other, into one buffer that grows. */
export class LaunchRequestEncoder {
  #buffer = Buffer.alloc(16384);
  #view = new DataView(this.#buffer.buffer, this.#buffer.byteOffset);

  /** Valid until the next `encode`. */
  get buffer(): Buffer {
    return this.#buffer;
  }

  /** Returns how many bytes of `buffer` the request takes. */
  encode(request: LaunchRequest): number {
    const slave = request.stdio.kind === 'terminal' ? Buffer.from(request.stdio.slavePath) : undefined;
    const fixedBytes = headerBytes + request.rlimits.length * rlimitBytes + paddedGroupBytes(request);
    this.#reserve(
      fixedBytes +
        stringBytes(request.candidates) +
        stringBytes(request.argv) +
        stringBytes(request.env) +
        (request.cwd === undefined ? 0 : request.cwd.length + 1) +
        (slave === undefined ? 0 : slave.length + 1),
    );
    this.#header(request);
    this.#limitsAndGroups(request);
    let at = this.#strings(request.candidates, fixedBytes);
    at = this.#strings(request.argv, at);
    at = this.#strings(request.env, at);
    if (request.cwd !== undefined) at = this.#string(request.cwd, at);
    if (slave !== undefined) at = this.#string(slave, at);
    return at;
  }

  #header(request: LaunchRequest): void {
    const { credentials } = request;
    const view = this.#view;
    view.setUint32(0, flagsOf(request), true);
    view.setUint32(4, request.candidates.length, true);
    view.setUint32(8, request.argv.length, true);
    view.setUint32(12, request.env.length, true);
    view.setUint32(16, request.rlimits.length, true);
    view.setUint32(20, credentials === undefined ? 0 : credentials.groups.length, true);
    view.setInt32(24, request.nice ?? 0, true);
    view.setInt32(28, request.oomScoreAdj ?? 0, true);
    view.setUint32(32, request.umask ?? defaultUmask, true);
    view.setUint32(36, credentials === undefined ? 0 : credentials.uid, true);
    view.setUint32(40, credentials === undefined ? 0 : credentials.gid, true);
    view.setInt32(44, request.cgroupFd ?? -1, true);
    // The signal mask of the command: empty.
    view.setUint32(48, 0, true);
    view.setUint32(52, 0, true);
    view.setUint32(56, request.timerSlackNs ?? 0, true);
    view.setUint32(60, 0, true);
  }

  #limitsAndGroups(request: LaunchRequest): void {
    let at = headerBytes;
    for (const limit of request.rlimits) {
      this.#view.setBigUint64(at, BigInt(limit.resource), true);
      this.#view.setBigUint64(at + 8, limit.soft, true);
      this.#view.setBigUint64(at + 16, limit.hard, true);
      at += rlimitBytes;
    }
    if (request.credentials === undefined) return;
    for (const group of request.credentials.groups) {
      this.#view.setUint32(at, group, true);
      at += 4;
    }
  }

  #strings(strings: readonly Buffer[], from: number): number {
    let at = from;
    for (let i = 0; i < strings.length; i++) at = this.#string(strings[i] as Buffer, at);
    return at;
  }

  #string(bytes: Buffer, at: number): number {
    this.#buffer.set(bytes, at);
    this.#buffer[at + bytes.length] = 0;
    return at + bytes.length + 1;
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#buffer.length) return;
    this.#buffer = Buffer.alloc(2 ** Math.ceil(Math.log2(bytes)));
    this.#view = new DataView(this.#buffer.buffer, this.#buffer.byteOffset);
  }
}

/**
 * The error for a request that the native launcher cannot read, which it only finds out as a whole:
 * counts and strings do not agree, since a string has a NUL in it.
 */
export function malformedRequest(request: LaunchRequest): HawserError {
  const parts: readonly [string, readonly Buffer[]][] = [
    ['path', request.candidates],
    ['argument', request.argv],
    ['environment variable', request.env],
    ['cwd', request.cwd === undefined ? [] : [request.cwd]],
  ];
  for (const [name, strings] of parts) {
    const index = strings.findIndex((bytes) => bytes.includes(0));
    if (index < 0) continue;
    const shown = JSON.stringify(String(strings[index]?.subarray(0, 80)));
    const code = name === 'environment variable' ? 'invalid_env' : 'invalid_argument';
    return new HawserError(code, `${name} ${index} contains a NUL byte: ${shown}`, { stage: 'validate' });
  }
  return new HawserError('invalid_argument', 'the command has no path', { stage: 'validate' });
}

function flagsOf(request: LaunchRequest): number {
  return (
    (request.stdio.kind === 'terminal' ? flagTerminal : 0) |
    (request.stdio.stdin === 'null' ? flagStdinNull : 0) |
    (request.credentials === undefined ? 0 : flagCredentials) |
    (request.noNewPrivileges ? flagNoNewPrivileges : 0) |
    (request.nice === undefined ? 0 : flagNice) |
    (request.oomScoreAdj === undefined ? 0 : flagOomScore) |
    (request.cwd === undefined ? 0 : flagCwd)
  );
}

function paddedGroupBytes(request: LaunchRequest): number {
  const count = request.credentials === undefined ? 0 : request.credentials.groups.length;
  return Math.ceil(count / 2) * 8;
}

function stringBytes(strings: readonly Buffer[]): number {
  let bytes = strings.length;
  for (let i = 0; i < strings.length; i++) bytes += (strings[i] as Buffer).length;
  return bytes;
}
