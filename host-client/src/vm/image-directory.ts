import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HawserError } from '@hawser/protocol';

export interface ImageFiles {
  readonly kernel: string;
  readonly initramfs: string | undefined;
}

/**
 * Reads `DIR/image.json`, which `npm run image` writes: `{ format: 1, kernel, initramfs, … }`, names of files
 * beside it.
 *
 * @throws HawserError `invalid_argument`
 */
export function readImageDirectory(directory: string): ImageFiles {
  const path = join(directory, 'image.json');
  let manifest: Record<string, unknown>;
  try {
    manifest = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new HawserError('invalid_argument', `${directory} is no image: ${message}`, { errno: code, cause });
  }
  const { format, kernel, initramfs } = manifest;
  if (format !== 1 || typeof kernel !== 'string')
    throw new HawserError('invalid_argument', `${path} is not of a format that this build knows (1)`);
  return {
    kernel: join(directory, kernel),
    initramfs: typeof initramfs === 'string' ? join(directory, initramfs) : undefined,
  };
}
