import { constants } from 'node:os';
import type { ExecRequest, Text } from '@hawser/protocol';
import { defaultLimits, HawserError, systemClock } from '@hawser/protocol';
import type { CgroupLimits } from '../processes/containment/process-tree.js';
import type { LaunchDraft } from '../processes/launch-request.js';
import type { WindowSize } from '../processes/pseudo-terminal.js';
import { getLimit, limitNumber, type ResourceLimit, resourceLimit } from '../processes/rlimits.js';
import { signalNumber } from '../processes/signals.js';
import type { User, Users } from '../processes/users.js';
import type { Retention } from './output-spool.js';

/** Everything that an exec request asks for, checked, in the launcher's terms. */
export interface ExecPlan {
  /** To be completed by whoever makes the terminal, where there is to be one, and by what contains the command. */
  readonly launch: LaunchDraft;
  readonly cgroup: CgroupLimits | undefined;
  readonly terminal: WindowSize | undefined;
  readonly stdin: 'pipe' | 'null';
  readonly timeoutMs: number | undefined;
  readonly killSignal: number;
  readonly killGraceMs: number;
  readonly retention: Retention;
  readonly onDisconnect: OnDisconnect;
  /** It is kept for whoever attaches, also when it has ended. */
  readonly kept: boolean;
  readonly key: string | undefined;
  /** Its processes go on without the agent. */
  readonly survives: boolean;
  readonly description: SessionDescription;
}

/** What the registry tells of a request. */
export interface SessionDescription {
  readonly cmd: Text;
  readonly args: readonly Text[];
  readonly labels: Readonly<Record<string, string>>;
  /** As the request named it. */
  readonly user: string | undefined;
  readonly uid: number;
  readonly gid: number;
  readonly cwd: Text | undefined;
  readonly detached: boolean;
}

/** What becomes of a session when nobody is attached any more since a connection ended. */
export interface OnDisconnect {
  readonly afterMs: number;
  readonly action: 'terminate' | 'kill' | 'keep';
}

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const nofile = limitNumber('nofile');
/** INR_OPEN_CUR of the kernel. */
const defaultDescriptors = 1024n;
const defaultKillSignal = constants.signals.SIGTERM;
const defaultKillGraceMs = 5_000;
/** How long the agent's own user is not looked up again. */
const selfMs = 1_000;
const timeoutMsMax = 2 ** 31 - 1;
/** What a session may be called: it is kept when the session has ended. */
const labelsMax = 64;
const labelBytesMax = 16 * 1024;
const keyBytesMax = 1024;

/** Variables, `NAME=value`. */
interface Environment {
  /** In order of first mention. */
  readonly byName: ReadonlyMap<string, Buffer>;
  /** The same. */
  readonly entries: readonly Buffer[];
}

/** What requests are planned with; one for the agent. */
export class ExecPlanContext {
  readonly users: Users;
  /** The agent's own variables. */
  readonly environment: Environment;
  /**
   * The limits of a command whose request names none: how many descriptors it may have open. Node raises its own
   * soft limit to the hard one when it starts; what it had before is lost, and a command must not
   * inherit that (select(2) breaks beyond 1024), so it is Linux's own default again.
   */
  readonly defaultLimits: readonly ResourceLimit[];
  readonly #uid: number;
  #self: User | undefined;
  /** What a user's commands get where the request says nothing, with pipes and in a terminal. */
  readonly #defaults = new WeakMap<User, { readonly pipes: Environment; readonly terminal: Environment }>();

  /**
   * @param environment the agent's own variables, `NAME=value`, as bytes.
   * @param uid the user that the agent runs as.
   */
  constructor(users: Users, environment: readonly Buffer[], uid: number) {
    this.users = users;
    this.environment = environmentFrom(environment);
    const { resource, hard } = getLimit(process.pid, nofile);
    const soft = hard < defaultDescriptors ? hard : defaultDescriptors;
    this.defaultLimits = [{ resource, soft, hard }];
    this.#uid = uid;
  }

  /**
   * The agent's own user, for a request that names none. Its home and shell may be a second old: to
   * ask the files each time would be a tenth of a short command's cost here.
   */
  self(): User {
    if (this.#self === undefined) {
      this.#self = this.users.lookup(String(this.#uid));
      systemClock.after(selfMs, () => (this.#self = undefined));
    }
    return this.#self;
  }

  defaultEnvironment(user: User, terminal: boolean): Environment {
    let defaults = this.#defaults.get(user);
    if (defaults === undefined) {
      const variables = defaultVariables(user);
      const terminalVariables = [...variables, Buffer.from('TERM=xterm-256color')];
      defaults = { pipes: environmentFrom(variables), terminal: environmentFrom(terminalVariables) };
      this.#defaults.set(user, defaults);
    }
    return terminal ? defaults.terminal : defaults.pipes;
  }
}

/** @throws HawserError that names the field, its value and what is wrong with it. */
export function planExec(request: ExecRequest, context: ExecPlanContext): ExecPlan {
  const user = request.user === undefined ? context.self() : context.users.lookup(request.user);
  const cmd = toBytes(request.cmd);
  if (cmd.length === 0) throw new HawserError('not_found', 'cmd is empty', { stage: 'lookup' });
  const env = environmentOf(request, context, user);
  const detached = request.detached === true;
  const survives = request.surviveAgent === true;
  if (survives && !detached) throw refused('surviveAgent is for a detached command only');
  const onDisconnect = onDisconnectOf(request);
  const key = keyOf(request);
  const stdin = request.stdin ?? 'pipe';
  const launch: LaunchDraft = {
    candidates: candidatesOf(cmd, env),
    argv: argumentsOf(cmd, request.args),
    env: env.entries,
    stdio: { kind: 'pipes', stdin },
    rlimits: limitsOf(request, context),
    noNewPrivileges: request.noNewPrivileges ?? false,
    cwd: request.cwd === undefined ? undefined : toBytes(request.cwd),
    credentials: request.user === undefined ? undefined : user,
    umask: optionalInRange('umask', request.umask, 0, 0o777),
    nice: optionalInRange('nice', request.nice, -20, 19),
    oomScoreAdj: optionalInRange('oomScoreAdj', request.oomScoreAdj, -1000, 1000),
    cgroupFd: undefined,
    timerSlackNs: undefined,
  };
  return {
    launch,
    cgroup: request.cgroup,
    terminal: request.tty,
    stdin,
    timeoutMs: optionalInRange('timeoutMs', request.timeoutMs, 1, timeoutMsMax),
    killSignal: request.killSignal === undefined ? defaultKillSignal : signalNumber(request.killSignal),
    killGraceMs: inRange('killGraceMs', request.killGraceMs ?? defaultKillGraceMs, 0, timeoutMsMax),
    retention: retentionOf(request),
    onDisconnect,
    kept: detached || key !== undefined || onDisconnect.action === 'keep',
    key,
    survives,
    description: {
      cmd: request.cmd,
      args: request.args ?? noArguments,
      labels: labelsOf(request),
      user: request.user,
      uid: user.uid,
      gid: user.gid,
      cwd: request.cwd,
      detached,
    },
  };
}

const noArguments: readonly Text[] = [];
const noLabels: Readonly<Record<string, string>> = {};

function labelsOf({ labels }: ExecRequest): SessionDescription['labels'] {
  if (labels === undefined) return noLabels;
  const entries = Object.entries(labels);
  if (entries.length > labelsMax) throw refused(`${entries.length} labels are more than ${labelsMax}`);
  const bytes = entries.reduce(
    (sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value),
    0,
  );
  if (bytes > labelBytesMax) throw refused(`labels of ${bytes} bytes are more than ${labelBytesMax}`);
  return labels;
}

const noHistory: Retention = { historyBytes: 0, whenFull: 'block' };
const endAtOnce: OnDisconnect = { afterMs: 0, action: 'terminate' };

/** A detached command is not held up by nobody reading it. */
function retentionOf({ detached, historyBytes, whenFull }: ExecRequest): Retention {
  if (detached !== true && historyBytes === undefined && whenFull === undefined) return noHistory;
  const bytes = historyBytes ?? (detached === true ? defaultLimits.spoolBytesMax : 0);
  return {
    historyBytes: inRange('historyBytes', bytes, 0, defaultLimits.historyBytesMax),
    whenFull: whenFull ?? (detached === true ? 'dropOldest' : 'block'),
  };
}

/** A detached command outlives its host; another ends with it. */
function onDisconnectOf({ detached, onDisconnect }: ExecRequest): OnDisconnect {
  if (detached !== true && onDisconnect === undefined) return endAtOnce;
  return {
    afterMs: inRange('onDisconnect.afterMs', onDisconnect?.afterMs ?? 0, 0, timeoutMsMax),
    action: onDisconnect?.action ?? (detached === true ? 'keep' : 'terminate'),
  };
}

function keyOf({ key }: ExecRequest): string | undefined {
  const bytes = key === undefined ? 0 : Buffer.byteLength(key);
  if (bytes > keyBytesMax) throw refused(`a key of ${bytes} bytes is longer than ${keyBytesMax}`);
  return key;
}

function argumentsOf(cmd: Buffer, args: ExecRequest['args'] = []): Buffer[] {
  const argv = [cmd];
  for (const argument of args) argv.push(toBytes(argument));
  return argv;
}

function limitsOf({ rlimits }: ExecRequest, context: ExecPlanContext): readonly ResourceLimit[] {
  if (rlimits === undefined) return context.defaultLimits;
  const limits = rlimits.map(({ resource, soft, hard }) => resourceLimit(resource, soft, hard));
  return limits.some(({ resource }) => resource === nofile) ? limits : [...context.defaultLimits, ...limits];
}

function inRange(name: string, value: number, min: number, max: number): number {
  if (value >= min && value <= max) return value;
  throw refused(`${name} ${value} is not from ${min} to ${max}`);
}

function refused(text: string): HawserError {
  return new HawserError('invalid_argument', text, { stage: 'validate' });
}

function optionalInRange(
  name: string,
  value: number | undefined,
  min: number,
  max: number,
): number | undefined {
  return value === undefined ? undefined : inRange(name, value, min, max);
}

/** A later entry replaces an earlier one's value. */
function environmentOf(request: ExecRequest, context: ExecPlanContext, user: User): Environment {
  const base =
    request.inheritEnv === true
      ? context.environment
      : context.defaultEnvironment(user, request.tty !== undefined);
  if (request.env === undefined) return base;
  const byName = new Map(base.byName);
  for (const given of request.env) {
    const entry = toBytes(given);
    const name = nameOf(entry);
    if (name === '' || entry.includes(0)) {
      throw new HawserError('invalid_env', `env entry ${JSON.stringify(shown(entry))} is not NAME=value`, {
        stage: 'validate',
      });
    }
    byName.set(name, entry);
  }
  return { byName, entries: [...byName.values()] };
}

function environmentFrom(variables: readonly Buffer[]): Environment {
  const byName = new Map(variables.map((variable) => [nameOf(variable), variable]));
  return { byName, entries: [...byName.values()] };
}

function defaultVariables(user: User): Buffer[] {
  const variables = [`PATH=${defaultPath}`, `HOME=${user.home}`, `SHELL=${user.shell}`];
  if (user.name !== undefined) variables.push(`USER=${user.name}`, `LOGNAME=${user.name}`);
  return variables.map((variable) => Buffer.from(variable));
}

const equals = 0x3d;
const slash = 0x2f;

/** The bytes before `=`, one character each; empty for what is no `NAME=value`. */
function nameOf(entry: Buffer): string {
  const end = entry.indexOf(equals);
  return end < 0 ? '' : entry.toString('latin1', 0, end);
}

/** What an error may say of a variable: its name, never its value. */
function shown(entry: Buffer): string {
  const end = entry.indexOf(equals);
  return end < 0
    ? `${entry.toString('utf8', 0, 64)} (no "=")`
    : `${entry.toString('utf8', 0, Math.min(end, 64))}=…`;
}

/** The paths at which the command may be, as execvp(3) tries them, in the PATH that the command gets. */
function candidatesOf(cmd: Buffer, env: Environment): Buffer[] {
  if (cmd.includes(slash)) return [cmd];
  const variable = env.byName.get('PATH');
  const path =
    variable === undefined ? defaultPath : variable.toString('latin1', variable.indexOf(equals) + 1);
  const tail = cmd.toString('latin1');
  return path
    .split(':')
    .map((folder) => Buffer.from(folder === '' ? `./${tail}` : `${folder}/${tail}`, 'latin1'));
}

function toBytes(text: Text): Buffer {
  return typeof text === 'string'
    ? Buffer.from(text)
    : Buffer.from(text.buffer, text.byteOffset, text.byteLength);
}
