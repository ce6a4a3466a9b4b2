import { HawserError } from '@hawser/protocol';

export const vmNameBytesMax = 128;

/**
 * A VM's name is shown in terminals and typed in shells: 1 to 128 bytes of UTF-8 without control characters,
 * not beginning with a dash.
 *
 * @throws HawserError `invalid_argument`
 */
export function checkVmName(name: string): string {
  const bytes = Buffer.byteLength(name);
  const shown = JSON.stringify(bytes > vmNameBytesMax ? `${name.slice(0, 32)}…` : name);
  if (bytes === 0) throw new HawserError('invalid_argument', "a VM's name is empty");
  if (bytes > vmNameBytesMax)
    throw new HawserError(
      'invalid_argument',
      `the VM's name ${shown} of ${bytes} bytes exceeds vmNameBytesMax ${vmNameBytesMax}`,
    );
  if (/\p{C}|\p{Zl}|\p{Zp}/u.test(name))
    throw new HawserError('invalid_argument', `the VM's name ${shown} has control characters`);
  if (name.startsWith('-') || name.trim() !== name)
    throw new HawserError(
      'invalid_argument',
      `the VM's name ${shown} begins with a dash, or begins or ends with a space`,
    );
  return name;
}
