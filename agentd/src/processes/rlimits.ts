import { HawserError } from '@hawser/protocol';
import { EINVAL, EPERM, errnoName, systemCallError } from '../ffi/errno.js';
import * as native from '../ffi/native.js';

/** The kernel's sixteen limits by their number (asm-generic/resource.h), named as in getrlimit(2). */
const names = [
  'cpu',
  'fsize',
  'data',
  'stack',
  'core',
  'rss',
  'nproc',
  'nofile',
  'memlock',
  'as',
  'locks',
  'sigpending',
  'msgqueue',
  'nice',
  'rtprio',
  'rttime',
] as const;

export type LimitName = (typeof names)[number];

export const limitNames: readonly LimitName[] = [...names].sort();

/** No limit. */
export const limitInfinity = 2n ** 64n - 1n;

/** A limit with its kernel number; the values' units are the kernel's (bytes, seconds, microseconds). */
export interface ResourceLimit {
  readonly resource: number;
  readonly soft: bigint;
  readonly hard: bigint;
}

export function limitNumber(name: string): number {
  const number = (names as readonly string[]).indexOf(name);
  if (number >= 0) return number;
  throw new HawserError('unknown_limit', `unknown limit "${name}"; there are ${limitNames.join(', ')}`);
}

/** The name of a limit number; for messages, so it has one for any number. */
export function limitName(resource: number): string {
  return names[resource] ?? `limit ${resource}`;
}

/** A limit's value as a request has it. */
export type LimitValue = number | bigint | 'unlimited';

/** Checks one limit of a request. `soft` alone means both. */
export function resourceLimit(name: string, soft: LimitValue, hard: LimitValue = soft): ResourceLimit {
  const limit = { resource: limitNumber(name), soft: limitValue(name, soft), hard: limitValue(name, hard) };
  if (limit.soft > limit.hard)
    throw new HawserError('invalid_limit', `limit ${name}: soft ${soft} is above hard ${hard}`);
  return limit;
}

function limitValue(name: string, value: LimitValue): bigint {
  if (value === 'unlimited') return limitInfinity;
  if (
    typeof value === 'bigint'
      ? value >= 0n && value <= limitInfinity
      : Number.isSafeInteger(value) && value >= 0
  ) {
    return BigInt(value);
  }
  throw new HawserError(
    'invalid_limit',
    `limit ${name} of ${value} is not a whole number from 0 to 2^64 - 1`,
  );
}

const pair = new BigUint64Array(2);

/** A live process's limit. */
export function getLimit(pid: number, resource: number): ResourceLimit {
  const result = native.prlimit(pid, resource, null, pair);
  if (result < 0) throw systemCallError('prlimit', result, `${limitName(resource)} of process ${pid}`);
  return { resource, soft: pair[0] as bigint, hard: pair[1] as bigint };
}

/** @throws HawserError `limit_not_allowed` as at a launch; `system_call_failed` where the process is no more. */
export function setLimit(pid: number, limit: ResourceLimit): void {
  pair[0] = limit.soft;
  pair[1] = limit.hard;
  const result = native.prlimit(pid, limit.resource, pair, null);
  if (result === -EPERM || result === -EINVAL) {
    throw new HawserError(
      'limit_not_allowed',
      `limit ${limitName(limit.resource)} (soft ${limit.soft}, hard ${limit.hard}) of process ${pid} was refused: ${errnoName(result)}`,
      { errno: errnoName(result) },
    );
  }
  if (result < 0) {
    throw systemCallError(
      'prlimit',
      result,
      `${limitName(limit.resource)} of process ${pid} to ${limit.soft}, ${limit.hard}`,
    );
  }
}
