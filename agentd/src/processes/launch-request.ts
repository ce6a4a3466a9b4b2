import { HawserError } from '@hawser/protocol';
import type { ResourceLimit } from './rlimits.js';

/** What the launcher is to start. Every string is bytes: Linux paths, arguments and variables are. */
export interface LaunchRequest {
  /** Paths to try in order, as execvpe(3) goes through PATH. */
  readonly candidates: readonly Buffer[];
  readonly argv: readonly Buffer[];
  /** `NAME=value`. */
  readonly env: readonly Buffer[];
  readonly cwd?: Buffer | undefined;
  readonly stdio: LaunchStdio;
  readonly rlimits: readonly ResourceLimit[];
  /** The nice value itself, not a difference. */
  readonly nice?: number | undefined;
  readonly oomScoreAdj?: number | undefined;
  /** 022 where not given. */
  readonly umask?: number | undefined;
  readonly credentials?: Credentials | undefined;
  readonly noNewPrivileges: boolean;
  /** A descriptor of a cgroup v2's directory, in which the child is born; stays the caller's. */
  readonly cgroupFd?: number | undefined;
  /** prctl(2), PR_SET_TIMERSLACK, ns; 0 leaves it. */
  readonly timerSlackNs?: number | undefined;
}

/** A request that is still being made: what contains its child has its part in it. */
export type LaunchDraft = { -readonly [K in keyof LaunchRequest]: LaunchRequest[K] };

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
  /** The same memory, in the kernel's byte order: the header's words, and the limits' values. */
  #words = new Uint32Array(this.#buffer.buffer);
  #longWords = new BigUint64Array(this.#buffer.buffer);

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
    const words = this.#words;
    words[0] = flagsOf(request);
    words[1] = request.candidates.length;
    words[2] = request.argv.length;
    words[3] = request.env.length;
    words[4] = request.rlimits.length;
    words[5] = credentials === undefined ? 0 : credentials.groups.length;
    words[6] = request.nice ?? 0;
    words[7] = request.oomScoreAdj ?? 0;
    words[8] = request.umask ?? defaultUmask;
    words[9] = credentials === undefined ? 0 : credentials.uid;
    words[10] = credentials === undefined ? 0 : credentials.gid;
    words[11] = request.cgroupFd ?? -1;
    // The signal mask of the command: empty.
    words[12] = 0;
    words[13] = 0;
    words[14] = request.timerSlackNs ?? 0;
    words[15] = 0;
  }

  #limitsAndGroups(request: LaunchRequest): void {
    let at = headerBytes / 8;
    for (const limit of request.rlimits) {
      this.#longWords[at++] = BigInt(limit.resource);
      this.#longWords[at++] = limit.soft;
      this.#longWords[at++] = limit.hard;
    }
    if (request.credentials === undefined) return;
    this.#words.set(request.credentials.groups, at * 2);
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
    this.#words = new Uint32Array(this.#buffer.buffer);
    this.#longWords = new BigUint64Array(this.#buffer.buffer);
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
