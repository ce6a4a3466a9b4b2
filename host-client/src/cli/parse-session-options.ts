import type { CommandOptions } from '../options.js';
import { BadValue } from './bad-value.js';
import { parseDuration } from './parse-duration.js';

const actions = ['terminate', 'kill', 'keep'] as const;

/** `terminate`, `kill` or `keep`, and behind a colon after how long: `kill:30s`. */
export function parseOnDisconnect(text: string): NonNullable<CommandOptions['onDisconnect']> {
  const [word, after, ...more] = text.split(':');
  const action = actions.find((name) => name === word);
  if (action === undefined || more.length > 0 || (action === 'keep' && after !== undefined))
    throw new BadValue(`"${text}" is none of terminate, kill and keep, or terminate:30s and the like`);
  return after === undefined ? { action } : { action, afterMs: parseDuration(after) };
}

const units = { '': 1, K: 1024, M: 1024 ** 2 } as const;

/** `65536`, `64K` or `1M`: bytes, KiB, MiB. */
export function parseBytes(text: string): number {
  const [, digits, unit] = /^(\d+)([KM]?)$/.exec(text) ?? [];
  const bytes = Number(digits) * units[(unit ?? '') as keyof typeof units];
  if (digits === undefined || !Number.isSafeInteger(bytes))
    throw new BadValue(`"${text}" is no number of bytes, such as 65536, 64K or 1M`);
  return bytes;
}
