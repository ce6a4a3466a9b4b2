import { constants } from 'node:fs';
import { type ErrorCode, type LaunchStage, launchStages } from '@hawser/protocol';
import { E2BIG, EACCES, EINVAL, ENOENT, ENOEXEC, ENOTDIR, EPERM, errnoName } from '../ffi/errno.js';
import type { LaunchRequest } from './launch-request.js';
import { limitName } from './rlimits.js';

/** Why a command did not start. */
export interface LaunchFailure {
  readonly stage: LaunchStage;
  /** e.g. `ENOENT`. */
  readonly errno: string;
  readonly code: ErrorCode;
  readonly message: string;
}

/** `struct failure` of native/launch.h, as its four words. */
export interface FailureRecord {
  readonly stage: number;
  readonly errno: number;
  /** The candidate, limit or value that failed, by stage. */
  readonly detail: number;
  /** `st_mode` of the candidate, -1 where unknown. */
  readonly mode: number;
}

type Verdict = readonly [code: ErrorCode, message: string];

export function stageName(stage: number): LaunchStage {
  return launchStages[stage] ?? 'exec';
}

/** What a failure record means for this request. */
export function explainFailure(request: LaunchRequest, record: FailureRecord): LaunchFailure {
  const stage = stageName(record.stage);
  const [code, message] = verdictOf(stage, request, record);
  return { stage, errno: errnoName(record.errno), code, message };
}

function verdictOf(stage: LaunchStage, request: LaunchRequest, record: FailureRecord): Verdict {
  switch (stage) {
    case 'exec':
      return execVerdict(request, record);
    case 'cwd':
      return cwdVerdict(shown(request.cwd), record.errno);
    case 'rlimit':
      return limitVerdict(request, record);
    default:
      return ['launch_failed', `${attempt(stage, request)} failed with ${errnoName(record.errno)}`];
  }
}

function execVerdict(request: LaunchRequest, record: FailureRecord): Verdict {
  const path = shown(request.candidates[record.detail]);
  switch (record.errno) {
    case ENOENT:
      return record.mode === -1
        ? notFound(request)
        : ['interpreter_not_found', `${path} is there, but the interpreter it names is not`];
    case ENOTDIR:
      return notFound(request);
    case ENOEXEC:
      return [
        'not_executable',
        `${path} is neither a program for this machine nor a script with an interpreter line`,
      ];
    case EACCES:
      return accessVerdict(path, record.mode);
    case E2BIG:
      return ['arguments_too_long', tooLong(path, request)];
    default:
      return ['launch_failed', `${path} could not be executed: ${errnoName(record.errno)}`];
  }
}

function notFound(request: LaunchRequest): Verdict {
  const [first] = request.candidates;
  if (request.candidates.length === 1) return ['not_found', `no such command: ${shown(first)}`];
  return ['not_found', `no such command: tried ${request.candidates.map(shown).join(', ')}`];
}

function accessVerdict(path: string, mode: number): Verdict {
  const kind = mode & constants.S_IFMT;
  if (mode !== -1 && kind === constants.S_IFDIR) return ['not_executable', `${path} is a directory`];
  if (mode !== -1 && kind !== constants.S_IFREG) return ['not_executable', `${path} is not a regular file`];
  if (mode !== -1 && (mode & 0o111) === 0) {
    return ['not_executable', `${path} has no execute permission (mode 0${(mode & 0o7777).toString(8)})`];
  }
  return ['permission_denied', `${path} may not be executed: EACCES`];
}

function tooLong(path: string, request: LaunchRequest): string {
  const sizeOf = (strings: readonly Buffer[]): number =>
    strings.reduce((sum, bytes) => sum + bytes.length + 1, 0);
  const count = (bytes: number): string => bytes.toLocaleString('en-US');
  return `the kernel refuses ${count(sizeOf(request.argv))} bytes of arguments and ${count(sizeOf(request.env))} of environment for ${path}: E2BIG`;
}

function cwdVerdict(path: string, errno: number): Verdict {
  switch (errno) {
    case ENOENT:
      return ['cwd_not_found', `no such working directory: ${path}`];
    case ENOTDIR:
      return ['cwd_not_found', `the working directory ${path} is not a directory`];
    case EACCES:
      return ['cwd_not_accessible', `the working directory ${path} may not be entered: EACCES`];
    default:
      return ['launch_failed', `chdir to ${path} failed with ${errnoName(errno)}`];
  }
}

function limitVerdict(request: LaunchRequest, record: FailureRecord): Verdict {
  const limit = request.rlimits[record.detail];
  const name =
    limit === undefined
      ? 'a limit'
      : `limit ${limitName(limit.resource)} (soft ${limit.soft}, hard ${limit.hard})`;
  const refused = record.errno === EPERM || record.errno === EINVAL;
  return [refused ? 'limit_not_allowed' : 'launch_failed', `${name} was refused: ${errnoName(record.errno)}`];
}

/** What was being tried, with the value it was tried with. */
function attempt(stage: LaunchStage, request: LaunchRequest): string {
  switch (stage) {
    case 'terminal':
      return `opening ${request.stdio.kind === 'terminal' ? request.stdio.slavePath : 'the terminal'} as controlling terminal`;
    case 'stdio':
      return request.stdio.kind === 'pipes' && request.stdio.stdin === 'null'
        ? 'opening /dev/null and the pipes'
        : 'setting up standard streams';
    case 'nice':
      return `setting the nice value to ${request.nice}`;
    case 'oom_score':
      return `setting oom_score_adj to ${request.oomScoreAdj}`;
    case 'groups':
      return `setting the groups to ${request.credentials?.groups.join(', ')}`;
    case 'gid':
      return `changing to gid ${request.credentials?.gid}`;
    case 'uid':
      return `changing to uid ${request.credentials?.uid}`;
    default:
      return `launch step ${stage}`;
  }
}

function shown(path: Buffer | undefined): string {
  return JSON.stringify(String(path));
}
