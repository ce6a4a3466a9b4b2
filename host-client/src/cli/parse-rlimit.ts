import type { RlimitName, RlimitSettings, RlimitValue } from '../options.js';
import { BadValue } from './bad-value.js';

const names = {
  as: true,
  core: true,
  cpu: true,
  data: true,
  fsize: true,
  locks: true,
  memlock: true,
  msgqueue: true,
  nice: true,
  nofile: true,
  nproc: true,
  rss: true,
  rtprio: true,
  rttime: true,
  sigpending: true,
  stack: true,
} as const satisfies Record<RlimitName, true>;

export const rlimitNames = Object.keys(names) as RlimitName[];

const largest = 2n ** 64n - 1n;

/** `nofile=64:128`, `nofile=64` (both), `core=unlimited`. */
export function parseRlimit(text: string): RlimitSettings {
  const at = text.indexOf('=');
  if (at === -1) throw new BadValue(`"${text}" is not a limit: name=soft[:hard], such as nofile=64:128`);
  const name = text.slice(0, at);
  if (!Object.hasOwn(names, name))
    throw new BadValue(`"${name}" is not a resource limit, these are: ${rlimitNames.join(' ')}`);
  const [soft = '', hard = soft, ...more] = text.slice(at + 1).split(':');
  if (more.length > 0) throw new BadValue(`"${text}" has more than soft:hard`);
  return { [name]: { soft: parseRlimitValue(soft, text), hard: parseRlimitValue(hard, text) } };
}

function parseRlimitValue(value: string, within: string): RlimitValue {
  if (value === 'unlimited') return value;
  if (!/^\d+$/.test(value))
    throw new BadValue(`"${value}" in "${within}" is neither a whole number nor unlimited`);
  const number = BigInt(value);
  if (number > largest) throw new BadValue(`"${value}" in "${within}" is above ${largest}`);
  return number <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(number) : number;
}
