import { BadValue } from './bad-value.js';

/** docker's: what the control keys give, by their codes from 0 on. */
const controlKeys = Array.from('@abcdefghijklmnopqrstuvwxyz[\\]^_', (key) => `ctrl-${key}`);

/**
 * Keys as docker writes them: single characters and `ctrl-KEY`, with commas between. No keys at all is an empty text.
 *
 * @returns the bytes that a terminal sends for them.
 */
export function parseDetachKeys(text: string): Uint8Array {
  if (text === '') return new Uint8Array(0);
  return Uint8Array.from(text.split(','), (key) => {
    const control = controlKeys.indexOf(key.toLowerCase());
    if (control >= 0) return control;
    if (key === 'DEL') return 127;
    const code = key.charCodeAt(0);
    if (key.length === 1 && code < 128) return code;
    throw new BadValue(
      `"${text}" are not detach keys: "${key}" is neither one ASCII character nor ctrl- and one of a-z @ [ \\ ] ^ _`,
    );
  });
}
