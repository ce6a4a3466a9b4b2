import type { VmDisk } from '../vm/vm-options.js';
import { BadValue } from './bad-value.js';

/** `PATH`, which the VM writes, or `PATH:ro`. */
export function parseDisk(text: string): VmDisk {
  const [, path = '', mode] = /^(.*?)(?::(ro|rw))?$/s.exec(text) ?? [];
  if (path === '') throw new BadValue(`"${text}" names no image: PATH or PATH:ro`);
  return { path, readOnly: mode === 'ro' };
}
