import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HawserError } from '@hawser/protocol';

/**
 * Where the guest's root file system is: unpacked in memory, or a disk of the image, which is the guest's first. A disk is
 * only read, and so shared between VMs, but for `ext4-writable`, which is one VM's alone.
 */
export type VmRoot = 'memory' | 'erofs' | 'ext4' | 'ext4-writable';

export interface ImageFiles {
  readonly kernel: string;
  readonly initramfs: string | undefined;
  readonly rootDisk: { readonly path: string; readonly readOnly: boolean } | undefined;
}

/**
 * Reads `DIR/image.json`, which `npm run image` writes: `{ format: 1, kernel, initramfs, disks, … }`, names of files
 * beside it.
 *
 * @throws HawserError `invalid_argument`
 */
export function readImageDirectory(directory: string, root: VmRoot): ImageFiles {
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
  const inImage = (name: unknown): string | undefined =>
    typeof name === 'string' ? join(directory, name) : undefined;
  if (root === 'memory')
    return { kernel: join(directory, kernel), initramfs: inImage(initramfs), rootDisk: undefined };
  const type = root === 'ext4-writable' ? 'ext4' : root;
  const disks = manifest['disks'] as
    | Readonly<Record<string, { disk?: unknown; initramfs?: unknown } | undefined>>
    | undefined;
  const disk = inImage(disks?.[type]?.disk);
  if (disk === undefined)
    throw new HawserError('invalid_argument', `the image ${directory} has no ${type} disk`);
  return {
    kernel: join(directory, kernel),
    initramfs: inImage(disks?.[type]?.initramfs),
    rootDisk: { path: disk, readOnly: root !== 'ext4-writable' },
  };
}
