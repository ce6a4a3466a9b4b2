import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { defaultLimits, HawserError } from '@hawser/protocol';
import * as v from 'valibot';
import { logLevels } from './log.js';
import { containmentModes } from './processes/containment/process-tree.js';

const positive = v.pipe(v.number(), v.integer(), v.minValue(1));

const schema = v.strictObject({
  /** Lines to serve, as `unix:PATH`, `uart:DEVICE[?baud=N]`, `virtio:NAME`, `vsock:PORT`, `stdio:`. */
  listen: v.pipe(v.array(v.string()), v.minLength(1, 'nothing to listen on')),
  /** What a host has to show. */
  token: v.optional(v.pipe(v.string(), v.minLength(1))),
  logLevel: v.optional(v.picklist(logLevels), 'info'),
  sessionsMax: v.optional(positive, 512),
  windowBytes: v.optional(positive, defaultLimits.windowBytes),
  spoolBytesMax: v.optional(positive, defaultLimits.spoolBytesMax),
  spoolBudgetBytes: v.optional(positive, defaultLimits.spoolBudgetBytes),
  heartbeatIntervalMs: v.optional(positive, defaultLimits.heartbeatIntervalMs),
  heartbeatTimeoutMs: v.optional(positive, defaultLimits.heartbeatTimeoutMs),
  /** How long a connection without a line is kept for its host, ms. */
  resumeGraceMs: v.optional(positive, defaultLimits.resumeGraceMs),
  /** Sessions that have ended and are kept, what is known of them and their output; and for how long, ms. */
  keptSessionsMax: v.optional(positive, defaultLimits.keptSessionsMax),
  keptSessionMs: v.optional(positive, defaultLimits.keptSessionMs),
  /** Sets the guest's clock to the host's when it is off. Default: when this is PID 1. */
  setClock: v.optional(v.boolean()),
  /** By how much the guest's clock may be off, ms. */
  clockThresholdMs: v.optional(positive, 1_000),
  /** Takes vsock peers of CID 1 too: for tests inside one machine. */
  vsockAllowLoopback: v.optional(v.boolean(), false),
  /** How the processes of a session are held together: `auto` is cgroup v2 where one can be had, else a walk through /proc. */
  containment: v.optional(v.picklist(containmentModes), 'auto'),
  /** The cgroup v2 below which the agent makes its own. Default: the one that it is in. */
  cgroupParent: v.optional(v.pipe(v.string(), v.startsWith('/'))),
  /** Waits for orphans that the kernel hands over. Default: when this is PID 1. */
  reapOrphans: v.optional(v.boolean()),
  /** Does what a guest's init does. Default: when this is PID 1; false for the first process of a container. */
  init: v.optional(v.boolean()),
  /** The guest's name, as PID 1. */
  hostname: v.optional(v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$/, 'not a host name'))),
  /** As PID 1: further mounts, `SOURCE:TARGET:TYPE[:OPTIONS]` with options as mount(8) has them. */
  mounts: v.optional(v.array(v.string()), []),
  /** As PID 1: a power-off resets instead, which is what ends a VM of Firecracker. */
  powerOffReboots: v.optional(v.boolean(), false),
});

export type Config = v.InferOutput<typeof schema>;
type Key = keyof typeof schema.entries;

/** `logLevel` is `--log-level` as a flag and `hawser.log-level` on the kernel's command line. */
const flagOf = (key: string): string => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const keyOf = new Map((Object.keys(schema.entries) as Key[]).map((key) => [flagOf(key), key]));
const booleans: ReadonlySet<Key> = new Set<Key>([
  'vsockAllowLoopback',
  'reapOrphans',
  'setClock',
  'init',
  'powerOffReboots',
]);
const texts: ReadonlySet<Key> = new Set<Key>([
  'token',
  'logLevel',
  'hostname',
  'containment',
  'cgroupParent',
]);
/** May be given more than once. */
const lists: ReadonlySet<Key> = new Set<Key>(['listen', 'mounts']);

export const usage = `hawser-agentd: runs commands for a host, over whatever byte line there is.

  hawser-agentd --listen SPEC [--listen SPEC ...] [options]

Lines
  unix:PATH                a Unix socket, mode 0600
  uart:DEVICE[?baud=N]     a serial port, an hvc console or a pty
  virtio:NAME              the virtio-serial port of that name
  vsock:PORT               AF_VSOCK, from the host only
  stdio:                   standard input and output

Options
${[...keyOf.keys()].map((flag) => `  --${flag}`).join('\n')}
  --config FILE            JSON with the same names in camelCase
  --help, --version

What a flag does not say, the kernel's command line may (hawser.listen=virtio:agent,uart:/dev/ttyS1
hawser.log-level=debug), and then the file.
`;

export interface ConfigSources {
  readonly args: readonly string[];
  /** The kernel's command line, /proc/cmdline. */
  readonly kernelCommandLine: string;
  readonly readFile: (path: string) => string;
}

/**
 * Flags first, then the kernel's command line, then the file: each says what the ones before left open.
 *
 * @returns `help` or `version` where that was asked for.
 * @throws HawserError `invalid_config`, naming the source, the name and the value.
 */
export function readConfig(sources: ConfigSources): Config | 'help' | 'version' {
  const flags = fromFlags(sources.args);
  if (flags === 'help' || flags === 'version') return flags;
  const kernel = fromKernel(sources.kernelCommandLine);
  const path = flags.file ?? kernel.file;
  const file = path === undefined ? {} : fromFile(path, sources.readFile);
  const result = v.safeParse(schema, { ...file, ...kernel.values, ...flags.values });
  if (result.success) return result.output;
  const issue = result.issues[0];
  const key = String(issue.path?.[0]?.key) as Key;
  let where = `--${flagOf(key)}`;
  let value = flags.values[key];
  if (value === undefined) {
    value = kernel.values[key];
    where = `kernel command line: hawser.${flagOf(key)}`;
  }
  if (value === undefined) {
    value = file[key];
    where = `${path}: ${key}`;
  }
  if (key === 'listen' && (value === undefined || (Array.isArray(value) && value.length === 0)))
    throw new HawserError('invalid_config', 'nothing to listen on: give --listen SPEC (see --help)');
  // A token is nobody's business, wrong or not.
  if (key === 'token') throw new HawserError('invalid_config', `${where}: not a text that says something`);
  const shown = typeof value === 'string' ? value : JSON.stringify(value);
  throw new HawserError('invalid_config', `${where}=${shown}: ${issue.message}`);
}

export function systemSources(args: readonly string[]): ConfigSources {
  let kernelCommandLine = '';
  try {
    kernelCommandLine = readFileSync('/proc/cmdline', 'utf8');
  } catch {
    // No /proc: then there are only flags and file.
  }
  return { args, kernelCommandLine, readFile: (path) => readFileSync(path, 'utf8') };
}

interface Found {
  readonly values: Partial<Record<Key, unknown>>;
  readonly file: string | undefined;
}

function fromFlags(args: readonly string[]): Found | 'help' | 'version' {
  const options: Record<string, { type: 'string' | 'boolean'; multiple?: boolean; short?: string }> = {
    config: { type: 'string' },
    help: { type: 'boolean', short: 'h' },
    version: { type: 'boolean' },
  };
  for (const [flag, key] of keyOf)
    options[flag] = { type: booleans.has(key) ? 'boolean' : 'string', multiple: lists.has(key) };
  let values: Record<string, unknown>;
  try {
    values = parseArgs({ args: [...args], options, strict: true, allowPositionals: false }).values;
  } catch (error) {
    throw new HawserError('invalid_config', (error as Error).message, { cause: error });
  }
  if (values['help'] === true) return 'help';
  if (values['version'] === true) return 'version';
  const found: Partial<Record<Key, unknown>> = {};
  for (const [flag, key] of keyOf)
    if (values[flag] !== undefined) found[key] = typed(`--${flag}`, key, values[flag]);
  return { values: found, file: values['config'] as string | undefined };
}

/** Of `name=value` words that begin with `hawser.`; the kernel's quoting of spaces is not needed here. */
function fromKernel(commandLine: string): Found {
  const found: Partial<Record<Key, unknown>> = {};
  let file: string | undefined;
  for (const word of commandLine.split(/\s+/)) {
    if (!word.startsWith('hawser.')) continue;
    const end = word.includes('=') ? word.indexOf('=') : word.length;
    const name = word.slice('hawser.'.length, end);
    const value = word.slice(end + 1);
    const key = keyOf.get(name);
    if (name === 'config') file = value;
    else if (key === undefined)
      throw new HawserError('invalid_config', `kernel command line: ${word}: there is no such setting`);
    else if (key === 'listen') found.listen = value.split(',');
    // Options have commas: more mounts are more words.
    else if (key === 'mounts') found.mounts = [...((found.mounts as string[] | undefined) ?? []), value];
    else
      found[key] = typed(
        `kernel command line: hawser.${name}`,
        key,
        booleans.has(key) && end === word.length ? true : value,
      );
  }
  return { values: found, file };
}

function fromFile(path: string, readFile: (path: string) => string): Partial<Record<Key, unknown>> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFile(path));
  } catch (error) {
    throw new HawserError('invalid_config', `${path}: ${(error as Error).message}`, { cause: error });
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new HawserError('invalid_config', `${path}: not a JSON object`);
  }
  for (const name of Object.keys(parsed)) {
    if (!(name in schema.entries))
      throw new HawserError('invalid_config', `${path}: ${name}: there is no such setting`);
  }
  return parsed;
}

/** Flags and the kernel give text: numbers and booleans are made of it here. */
function typed(where: string, key: Key, value: unknown): unknown {
  if (typeof value !== 'string' || lists.has(key) || texts.has(key)) return value;
  if (booleans.has(key)) {
    if (value === 'true' || value === '1') return true;
    if (value === 'false' || value === '0') return false;
    throw new HawserError('invalid_config', `${where}=${value}: neither true nor false`);
  }
  if (/^\d+$/.test(value)) return Number(value);
  throw new HawserError('invalid_config', `${where}=${value}: not a whole number`);
}
