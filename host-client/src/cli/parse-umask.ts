import { BadValue } from './bad-value.js';

/** `022` or `0o022`: octal, as umask(1) has it. */
export function parseUmask(text: string): number {
  if (!/^(0o)?[0-7]{1,4}$/.test(text))
    throw new BadValue(`"${text}" is not an octal file mode mask, such as 022`);
  const mask = Number.parseInt(text.replace('0o', ''), 8);
  if (mask > 0o777) throw new BadValue(`"${text}" is above 0777`);
  return mask;
}
