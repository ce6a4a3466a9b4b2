import { BadValue } from './bad-value.js';

/** `NAME=value`; the value may be empty and may hold more `=`. */
export function parseAssignment(text: string): readonly [name: string, value: string] {
  const at = text.indexOf('=');
  if (at === -1) throw new BadValue(`"${text}" is not NAME=VALUE`);
  if (at === 0) throw new BadValue(`"${text}" has no name before the "="`);
  return [text.slice(0, at), text.slice(at + 1)];
}

/**
 * A variable for the command: `NAME=value`, or `NAME` alone for the value that it has here, as docker has it.
 * `undefined` where it has none here.
 */
export function parseVariable(
  text: string,
  local: Readonly<Record<string, string | undefined>>,
): readonly [name: string, value: string] | undefined {
  if (text === '') throw new BadValue('a variable needs a name');
  if (text.includes('=')) return parseAssignment(text);
  const value = local[text];
  return value === undefined ? undefined : [text, value];
}
