import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { HawserError } from '@hawser/protocol';
import type koffi from 'koffi';

export type Koffi = typeof koffi;

/**
 * Loads koffi, an optional peer dependency.
 *
 * @param purpose begins the message where it is missing, e.g. `vsock: lines need`
 * @throws HawserError `missing_dependency`
 */
export function loadKoffi(purpose: string): Koffi {
  try {
    return createRequire(import.meta.url)('koffi') as Koffi;
  } catch (cause) {
    throw new HawserError('missing_dependency', `${purpose} the package koffi: npm install koffi`, { cause });
  }
}

/** `ENOENT` for 2 on this system. */
export function errnoName(errno: number): string {
  const found = Object.entries(constants.errno).find(([, number]) => number === errno);
  return found?.[0] ?? `errno ${errno}`;
}
