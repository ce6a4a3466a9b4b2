import { lstatSync, mkdirSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { HawserError } from '@hawser/protocol';

/** sizeof(sun_path) is 108, its last byte a zero (unix(7)). */
export const socketPathBytesMax = 107;

/**
 * Where this user's VMs have their folders: `$XDG_RUNTIME_DIR/hawser/vms`, else `/tmp/hawser-UID/hawser/vms`.
 * Made where it is missing, and refused where another user could have made it.
 *
 * @throws HawserError `invalid_config`
 */
export function vmsDirectory(env: NodeJS.ProcessEnv = process.env): string {
  const given = env['XDG_RUNTIME_DIR'];
  const base = given !== undefined && given !== '' ? given : privateBase();
  const hawser = join(base, 'hawser');
  for (const directory of [hawser, join(hawser, 'vms')]) makePrivate(directory);
  return join(hawser, 'vms');
}

function privateBase(): string {
  const base = `/tmp/hawser-${userInfo().uid}`;
  makePrivate(base);
  return base;
}

/** In /tmp anybody may have put something under this name before us. */
function makePrivate(directory: string): void {
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
      const { code, message } = error as NodeJS.ErrnoException;
      throw new HawserError('invalid_config', `${directory} cannot be made: ${message}`, {
        errno: code,
        cause: error,
      });
    }
  }
  const { uid, mode } = lstatSync(directory);
  if (!lstatSync(directory).isDirectory())
    throw new HawserError('invalid_config', `${directory} is no directory`);
  const own = userInfo().uid;
  if (own >= 0 && uid !== own)
    throw new HawserError('invalid_config', `${directory} belongs to user ${uid}, not to ${own}`);
  if ((mode & 0o022) !== 0)
    throw new HawserError(
      'invalid_config',
      `${directory} may be written by others (mode ${(mode & 0o777).toString(8)})`,
    );
}
