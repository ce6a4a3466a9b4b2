import { BadValue } from './bad-value.js';

/** A whole number above 0. */
export function parseWhole(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new BadValue(`"${text}" is not a whole number above 0`);
  return Number(text);
}
