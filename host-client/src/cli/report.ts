import { HawserError } from '@hawser/protocol';

/** Writes a line to standard error, and waits until it is written. */
export function printLine(text: string, lineEnd = '\n'): Promise<void> {
  return new Promise((resolve) => {
    // An error here has nowhere to be reported to; the exit code remains.
    process.stderr.write(`${text}${lineEnd}`, () => resolve());
  });
}

/** Writes a line to standard output, and waits until it is written. */
export function printOutput(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(`${text}\n`, (error) => (error ? reject(error) : resolve()));
  });
}

/** One line of JSON on standard error. */
export function printJson(value: unknown): Promise<void> {
  return printLine(toJson(value));
}

/**
 * Bigints as numbers where a number holds them, else as text; bytes as `{"base64": …}`.
 *
 * @param indent spaces for each level; without it everything is one line.
 */
export function toJson(value: unknown, indent?: number): string {
  function replace(this: unknown, key: string, part: unknown): unknown {
    // A Buffer comes here as what its toJSON makes of it.
    const own = (this as Readonly<Record<string, unknown>>)[key];
    if (own instanceof Uint8Array) return { base64: Buffer.from(own).toString('base64') };
    if (typeof part !== 'bigint') return part;
    return part <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(part) : part.toString();
  }
  return JSON.stringify(value, replace, indent);
}

export function printError(error: unknown, json: boolean | undefined): Promise<void> {
  if (json) return printJson({ error: errorFields(error) });
  return printLine(`hawser: ${harmless(error instanceof Error ? error.message : String(error))}`);
}

/** A guest's text must not steer the terminal that it is shown in: control characters become `\xNN`. */
export function harmless(text: string): string {
  return text.replaceAll(
    /[^\P{C}\n\t]|[\u2028\u2029]/gu,
    (character) => `\\x${(character.codePointAt(0) as number).toString(16).padStart(2, '0')}`,
  );
}

function errorFields(error: unknown): Record<string, unknown> {
  if (!(error instanceof HawserError)) return { code: 'internal', message: String(error) };
  const { code, stage, errno, message } = error;
  return { code, stage, errno, message };
}
