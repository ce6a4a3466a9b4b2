/** A value given on the command line that does not parse; the message names the value and what was expected. */
export class BadValue extends Error {
  override readonly name = 'BadValue';
}
