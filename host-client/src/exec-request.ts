import type { ExecRequest, Rlimit, TerminalSize } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import type {
  CommandOptions,
  RlimitName,
  RlimitSetting,
  RlimitSettings,
  RlimitTable,
  RlimitValue,
  SpawnOptions,
} from './options.js';

export const defaultTerminalSize: TerminalSize = { rows: 24, cols: 80 };

type RequestOptions = CommandOptions & Pick<SpawnOptions, 'tty'>;

/** What becomes of each option in a request; those that are not here, like `signal`, are the host's own. */
const conversions: {
  readonly [K in keyof RequestOptions & keyof ExecRequest]: (
    value: NonNullable<RequestOptions[K]>,
  ) => ExecRequest[K];
} = {
  env: envEntries,
  inheritEnv: same,
  cwd: same,
  user: same,
  umask: same,
  tty: terminalSize,
  rlimits: rlimitsOnWire,
  cgroup: copy,
  nice: same,
  oomScoreAdj: same,
  noNewPrivileges: same,
  timeoutMs: same,
  killSignal: same,
  killGraceMs: same,
  labels: copy,
  key: same,
  detached: same,
  surviveAgent: same,
  onDisconnect: same,
  historyBytes: same,
  whenFull: same,
};

/**
 * Has only what was asked for: encoding looks at every field, and most requests say little.
 *
 * @throws HawserError `invalid_env` for a name that no environment can hold, `invalid_limit`.
 */
export function execRequest(
  cmd: string | Uint8Array,
  args: readonly (string | Uint8Array)[],
  stdin: ExecRequest['stdin'],
  options: RequestOptions,
): ExecRequest {
  const request: ExecRequest = { cmd, args: [...args], stdin };
  const fields = request as Record<string, unknown>;
  for (const name of Object.keys(options)) {
    const value = options[name as keyof RequestOptions];
    if (value === undefined || !Object.hasOwn(conversions, name)) continue;
    const convert = conversions[name as keyof typeof conversions] as (value: unknown) => unknown;
    fields[name] = convert(value);
  }
  return request;
}

function same<T>(value: T): T {
  return value;
}

function copy<T extends object>(value: T): T {
  return { ...value };
}

export function terminalSize(tty: SpawnOptions['tty']): TerminalSize | undefined {
  if (tty === undefined || tty === false) return undefined;
  return tty === true ? defaultTerminalSize : { ...defaultTerminalSize, ...tty };
}

/** @throws HawserError `invalid_limit` for what 64 bits do not hold: encoded, it would be another value. */
export function rlimitsOnWire(settings: RlimitSettings): Rlimit[] {
  return Object.entries(settings)
    .filter(([, setting]) => setting !== undefined)
    .map(([resource, setting]: [string, RlimitSetting]) => {
      const { soft, hard } = typeof setting === 'object' ? setting : { soft: setting, hard: setting };
      return { resource, soft: limitOnWire(resource, soft), hard: limitOnWire(resource, hard) };
    });
}

const uint64Max = 2n ** 64n - 1n;

function limitOnWire(resource: string, value: RlimitValue): RlimitValue {
  const fits =
    typeof value === 'bigint'
      ? value >= 0n && value <= uint64Max
      : Number.isSafeInteger(value) && Number(value) >= 0;
  if (fits || value === 'unlimited') return value;
  const text = `limit ${resource} of ${String(value)} is not a whole number from 0 to 2^64 - 1 (above 2^53 as a bigint)`;
  throw new HawserError('invalid_limit', text, { stage: 'validate' });
}

export function rlimitTable(rlimits: readonly Rlimit[]): RlimitTable {
  const value = (limit: number | bigint | 'unlimited'): bigint | 'unlimited' =>
    limit === 'unlimited' ? limit : BigInt(limit);
  return Object.fromEntries(
    rlimits.map(({ resource, soft, hard }) => [
      resource as RlimitName,
      { soft: value(soft), hard: value(hard) },
    ]),
  ) as RlimitTable;
}

function envEntries(env: NonNullable<CommandOptions['env']>): (string | Uint8Array)[] {
  const entries: (string | Uint8Array)[] = [];
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined) continue; // as node:child_process has it
    if (name === '' || name.includes('=') || name.includes('\0')) {
      throw new HawserError(
        'invalid_env',
        `env name ${JSON.stringify(name)} is empty or has a "=" or NUL in it`,
        { stage: 'validate' },
      );
    }
    entries.push(
      typeof value === 'string' ? `${name}=${value}` : Buffer.concat([Buffer.from(`${name}=`), value]),
    );
  }
  return entries;
}
