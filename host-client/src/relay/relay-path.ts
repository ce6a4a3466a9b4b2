import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { HawserError } from '@hawser/protocol';

/** Where a relay of a line is found by whoever wants that line: `relay-HASH.sock`, beside its lock. */
export interface RelayPaths {
  readonly directory: string;
  readonly socket: string;
  readonly lock: string;
}

/**
 * Where the relay of a line is: `$XDG_RUNTIME_DIR/hawser`, else `/tmp/hawser-UID/hawser`. The same for every way
 * to write the line's path, and whatever its baud rate.
 */
export function relayPaths(spec: string, env: NodeJS.ProcessEnv = process.env): RelayPaths {
  const directory = runtimeDirectory(env);
  const name = `relay-${hashOf(canonical(spec))}`;
  return { directory, socket: join(directory, `${name}.sock`), lock: join(directory, `${name}.lock`) };
}

/** The lock of whoever listens on the socket `path`. */
export function listenLockPath(path: string, env: NodeJS.ProcessEnv = process.env): string {
  return join(runtimeDirectory(env), `listen-${hashOf(realPath(path))}.lock`);
}

/**
 * Makes the folder where it is missing.
 *
 * @throws HawserError `invalid_config` where another user could have made it, or may write into it.
 */
export function makeRuntimeDirectory(env: NodeJS.ProcessEnv = process.env): void {
  const given = env['XDG_RUNTIME_DIR'];
  if (given === undefined || given === '') makePrivate(temporaryBase());
  makePrivate(runtimeDirectory(env));
}

/** Whether nobody but this user can have put something there. False where it does not exist. */
export function isPrivate(directory: string): boolean {
  const stat = lstatSync(directory, { throwIfNoEntry: false });
  return (
    stat !== undefined && stat.isDirectory() && stat.uid === process.getuid?.() && (stat.mode & 0o022) === 0
  );
}

function runtimeDirectory(env: NodeJS.ProcessEnv): string {
  const given = env['XDG_RUNTIME_DIR'];
  return join(given === undefined || given === '' ? temporaryBase() : given, 'hawser');
}

function temporaryBase(): string {
  return `/tmp/hawser-${process.getuid?.() ?? 'user'}`;
}

function makePrivate(directory: string): void {
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code !== 'EEXIST')
      throw new HawserError('invalid_config', `${directory} cannot be made: ${message}`, {
        errno: code,
        cause,
      });
  }
  if (!isPrivate(directory)) {
    const text = `${directory} is not this user's own, or others may write to it: relays are not looked for there`;
    throw new HawserError('invalid_config', text);
  }
}

function canonical(spec: string): string {
  const colon = spec.indexOf(':');
  const kind = spec.slice(0, colon + 1);
  const rest = spec.slice(colon + 1);
  if (kind === 'uart:') return kind + realPath(rest.replace(/\?.*$/, ''));
  return kind === 'unix:' ? kind + realPath(rest) : spec;
}

/** Of something that does not exist yet, its name in the folder where it will be. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    try {
      return join(realpathSync(join(path, '..')), path.slice(path.lastIndexOf('/') + 1));
    } catch {
      return path;
    }
  }
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}
