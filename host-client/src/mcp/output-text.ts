import { isUtf8 } from 'node:buffer';
import * as z from 'zod';

/** How bytes are put into JSON. */
export const encodings = ['auto', 'text', 'base64'] as const;
type Encoding = (typeof encodings)[number];

export const encodingField = z
  .enum(encodings)
  .default('auto')
  .describe(
    'auto: text where it is valid UTF-8 without NUL, else base64. text: always text, what is invalid becomes U+FFFD.',
  );

export const textFields = {
  encoding: z.enum(['utf8', 'base64']).describe('How text is to be read.'),
  text: z.string(),
};

export interface EncodedText {
  readonly encoding: 'utf8' | 'base64';
  readonly text: string;
}

export function encodeOutput(bytes: Buffer, encoding: Encoding): EncodedText {
  const asText = encoding === 'text' || (encoding === 'auto' && isUtf8(bytes) && !bytes.includes(0));
  return asText
    ? { encoding: 'utf8', text: bytes.toString('utf8') }
    : { encoding: 'base64', text: bytes.toString('base64') };
}

/** Bytes up to the last character that is whole: less than all of them only where they end within one. */
export function wholeCharacters(bytes: Uint8Array): number {
  // A character has at most four bytes, so one that is not whole has at most three.
  for (let back = 1; back <= Math.min(3, bytes.length); back += 1) {
    const byte = bytes[bytes.length - back] as number;
    if (byte < 0x80) break;
    if (byte < 0xc0) continue; // it goes on what is further ahead
    const bytesWanted = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return bytesWanted > back && byte < 0xf8 ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

/** Bytes at the beginning that belong to a character which began before. */
export function cutCharacter(bytes: Uint8Array): number {
  let at = 0;
  while (at < Math.min(3, bytes.length) && ((bytes[at] as number) & 0xc0) === 0x80) at += 1;
  return at;
}
