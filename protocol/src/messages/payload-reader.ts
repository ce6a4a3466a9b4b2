import type * as v from 'valibot';
import type { Limits } from '../limits.js';
import { defaultLimits } from '../limits.js';

/**
 * What a reader gives for bytes that are not plainly what its schema takes: wrong ones, and also what is allowed
 * and rare. The libraries judge those.
 */
export const unread = Symbol('unread');

/** Reads one value where the cursor is, and moves it behind that. */
type ReadValue = (cursor: Cursor) => unknown;

/** Reads one whole payload. */
export type ReadPayload = (bytes: Uint8Array, limits: Limits) => unknown;

interface Cursor {
  bytes: Uint8Array;
  at: number;
  /** Values that may still come, and lists and maps that may still be opened within each other. */
  values: number;
  depth: number;
  limits: Limits;
}

/** An entry of an object: its name's bytes, as MessagePack has a short string. */
interface Entry {
  readonly name: string;
  readonly encoded: Uint8Array;
  readonly read: ReadValue;
}

/** What valibot's schemas and actions are made of, as far as it is looked at here. */
interface Part {
  readonly kind: string;
  readonly type: string;
  readonly entries?: Readonly<Record<string, Part>>;
  readonly wrapped?: Part;
  readonly item?: Part;
  readonly key?: Part;
  readonly value?: Part;
  readonly options?: readonly unknown[];
  readonly literal?: unknown;
  readonly class?: unknown;
  readonly requirement?: unknown;
  readonly pipe?: readonly Part[];
}

/**
 * Makes the reader of a schema: in one pass from a payload's bytes to the checked value, which otherwise takes
 * four (structure, decoding, 64-bit numbers, schema) and most of a short command's time in either end.
 *
 * It gives the very value that the libraries would, or `unread`: never another one, and never an error.
 */
export function payloadReader(schema: v.GenericSchema): ReadPayload {
  const read = readerOf(schema);
  const cursor: Cursor = { bytes: nothing, at: 0, values: 0, depth: 0, limits: defaultLimits };
  return (bytes, limits) => {
    if (limits.messageStringBytesMax < nameBytesMax) return unread;
    cursor.bytes = bytes;
    cursor.at = 0;
    cursor.values = limits.messageValuesMax;
    cursor.depth = limits.messageDepthMax;
    cursor.limits = limits;
    const value = read(cursor);
    cursor.bytes = nothing;
    return cursor.at === bytes.length && cursor.values >= 0 ? value : unread;
  };
}

const nothing = new Uint8Array(0);

/** What a name in a schema has at most: the length is in its first byte then. */
const nameBytesMax = 31;

const never: ReadValue = () => unread;

function readerOf(part: Part): ReadValue {
  if (part.pipe !== undefined) return piped(part.pipe);
  switch (part.type) {
    case 'string':
      return readString;
    case 'number':
      return readNumber;
    case 'bigint':
      return readBigint;
    case 'boolean':
      return readBoolean;
    case 'instance':
      return part.class === Uint8Array ? readBytes : never;
    case 'literal':
      return oneOf([part.literal]);
    case 'picklist':
      return oneOf(part.options as readonly unknown[]);
    case 'union':
      return firstOf((part.options as readonly Part[]).map(readerOf));
    case 'array':
      return listOf(readerOf(part.item as Part));
    case 'record':
      return recordOf(readerOf(part.key as Part), readerOf(part.value as Part));
    case 'object':
      return objectOf(part.entries as Readonly<Record<string, Part>>);
    default:
      return never;
  }
}

function piped([schema, ...actions]: readonly Part[]): ReadValue {
  const read = readerOf(schema as Part);
  const checks = actions.map(checkOf);
  return (cursor) => {
    const value = read(cursor);
    if (value === unread) return unread;
    for (let i = 0; i < checks.length; i++)
      if (!(checks[i] as (value: never) => boolean)(value as never)) return unread;
    return value;
  };
}

function checkOf({ kind, type, requirement }: Part): (value: never) => boolean {
  // A whole schema behind another one is a pipe's, too.
  if (kind !== 'validation') return () => false;
  switch (type) {
    case 'integer':
      return (value: number) => Number.isInteger(value);
    case 'safe_integer':
      return (value: number) => Number.isSafeInteger(value);
    case 'min_value':
      return (value: number) => value >= (requirement as number);
    case 'max_value':
      return (value: number) => value <= (requirement as number);
    case 'min_length':
      return (value: string) => value.length >= (requirement as number);
    case 'check':
      return requirement as (value: never) => boolean;
    default:
      return () => false;
  }
}

function oneOf(values: readonly unknown[]): ReadValue {
  const read = firstOf([readString, readNumber]);
  return (cursor) => {
    const value = read(cursor);
    return values.includes(value) ? value : unread;
  };
}

function firstOf(reads: readonly ReadValue[]): ReadValue {
  return (cursor) => {
    const { at, values, depth } = cursor;
    for (let i = 0; i < reads.length; i++) {
      const value = (reads[i] as ReadValue)(cursor);
      if (value !== unread) return value;
      cursor.at = at;
      cursor.values = values;
      cursor.depth = depth;
    }
    return unread;
  };
}

function listOf(read: ReadValue): ReadValue {
  return (cursor) => {
    const count = lengthOf(cursor, 0x90, 0xdc);
    if (count < 0 || count > cursor.limits.messageListMax || --cursor.depth < 0) return unread;
    const list: unknown[] = [];
    for (let i = 0; i < count; i++) {
      const value = read(cursor);
      if (value === unread) return unread;
      list.push(value);
    }
    cursor.depth++;
    return list;
  };
}

/** Names of which not every library makes a field. */
const oddNames: readonly unknown[] = ['__proto__', 'prototype', 'constructor'];

function recordOf(readKey: ReadValue, read: ReadValue): ReadValue {
  return (cursor) => {
    const count = lengthOf(cursor, 0x80, 0xde);
    if (count < 0 || count > cursor.limits.messageMapMax || --cursor.depth < 0) return unread;
    const record: Record<string, unknown> = {};
    for (let i = 0; i < count; i++) {
      const key = readKey(cursor);
      if (typeof key !== 'string' || oddNames.includes(key)) return unread;
      const value = read(cursor);
      if (value === unread) return unread;
      record[key] = value;
    }
    cursor.depth++;
    return record;
  };
}

/** Entries of which one number can tell which came. */
const entriesMax = 31;

function objectOf(parts: Readonly<Record<string, Part>>): ReadValue {
  const entries: Entry[] = [];
  let required = 0;
  for (const [name, part] of Object.entries(parts)) {
    const optional = part.type === 'optional';
    if (!optional) required |= 1 << entries.length;
    const encoded = Buffer.from(`\0${name}`);
    encoded[0] = 0xa0 | (encoded.length - 1);
    entries.push({ name, encoded, read: readerOf(optional ? (part.wrapped as Part) : part) });
  }
  if (entries.length > entriesMax || entries.some(({ encoded }) => encoded.length > 1 + nameBytesMax))
    return never;
  return (cursor) => {
    const count = lengthOf(cursor, 0x80, 0xde);
    if (count < 0 || count > cursor.limits.messageMapMax || --cursor.depth < 0) return unread;
    const object: Record<string, unknown> = {};
    let came = 0;
    let next = 0;
    for (let i = 0; i < count; i++) {
      const at = entryAt(cursor, entries, next);
      if (at < 0 || (came & (1 << at)) !== 0) return unread;
      const entry = entries[at] as Entry;
      cursor.values--;
      const value = entry.read(cursor);
      if (value === unread) return unread;
      object[entry.name] = value;
      came |= 1 << at;
      next = at + 1;
    }
    cursor.depth++;
    return (came & required) === required ? object : unread;
  };
}

/** Which entry's name comes, looked for from `first` on: senders have an order, most often the schema's. */
function entryAt(cursor: Cursor, entries: readonly Entry[], first: number): number {
  const { bytes, at } = cursor;
  const head = bytes[at];
  for (let i = 0, k = first; i < entries.length; i++, k++) {
    if (k >= entries.length) k -= entries.length;
    const { encoded } = entries[k] as Entry;
    if (encoded[0] !== head) continue;
    let same = 1;
    while (same < encoded.length && bytes[at + same] === encoded[same]) same++;
    if (same < encoded.length) continue;
    cursor.at = at + same;
    return k;
  }
  return -1;
}

/** The head of a list (`fix` 0x90, `wide` 0xdc) or a map (0x80, 0xde); negative for something else. */
function lengthOf(cursor: Cursor, fix: number, wide: number): number {
  cursor.values--;
  const head = cursor.bytes[cursor.at] ?? 0;
  if (head >= fix && head <= fix + 15) {
    cursor.at++;
    return head & 15;
  }
  if (head !== wide) return -1;
  cursor.at++;
  return unsigned(cursor, 2);
}

/** An unsigned number of so many bytes; NaN beyond the end. */
function unsigned(cursor: Cursor, width: number): number {
  const { bytes } = cursor;
  let value = 0;
  for (let end = cursor.at + width; cursor.at < end; cursor.at++)
    value = value * 256 + (bytes[cursor.at] as number);
  return value;
}

function readBoolean(cursor: Cursor): unknown {
  cursor.values--;
  const head = cursor.bytes[cursor.at++];
  return head === 0xc3 ? true : head === 0xc2 ? false : unread;
}

function readNumber(cursor: Cursor): unknown {
  if (--cursor.values < 0) return unread;
  const head = cursor.bytes[cursor.at++] as number;
  if (head < 0x80) return head;
  if (head >= 0xe0) return head - 256;
  if (head === 0xcb) return readDouble(cursor);
  // Unsigned, 8 to 64 bits; what no number holds exactly is a bigint. Others are rare: the library has them.
  if (head < 0xcc || head > 0xcf) return unread;
  const value = unsigned(cursor, 1 << (head - 0xcc));
  return value <= Number.MAX_SAFE_INTEGER ? value : unread;
}

const double = new Float64Array(1);
const doubleBytes = new Uint8Array(double.buffer);
/** Of this machine's doubles; MessagePack's are big-endian. */
const littleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** Senders may write whole numbers above 32 bits like this. */
function readDouble(cursor: Cursor): unknown {
  const { bytes, at } = cursor;
  if (at + 8 > bytes.length) return unread;
  for (let i = 0; i < 8; i++) doubleBytes[littleEndian ? 7 - i : i] = bytes[at + i] as number;
  cursor.at = at + 8;
  return double[0];
}

/** Numbers that a number holds never come as a bigint. */
function readBigint(cursor: Cursor): unknown {
  cursor.values--;
  if (cursor.bytes[cursor.at++] !== 0xcf || cursor.at + 8 > cursor.bytes.length) return unread;
  const value = (BigInt(unsigned(cursor, 4)) << 32n) | BigInt(unsigned(cursor, 4));
  return value > Number.MAX_SAFE_INTEGER ? value : unread;
}

/** Longer strings are worth a call into Node. */
const shortStringBytes = 48;

function readString(cursor: Cursor): unknown {
  const { bytes, limits } = cursor;
  if (--cursor.values < 0) return unread;
  const head = bytes[cursor.at++] as number;
  let length = head & 31;
  if (head < 0xa0 || head > 0xbf) {
    if (head < 0xd9 || head > 0xdb) return unread;
    length = unsigned(cursor, 1 << (head - 0xd9));
  }
  const from = cursor.at;
  const end = from + length;
  if (!(end <= bytes.length) || length > limits.messageStringBytesMax) return unread;
  cursor.at = end;
  if (length > shortStringBytes) return isAscii(bytes, from, end) ? latin1(bytes, from, end) : unread;
  let text = '';
  for (let at = from; at < end; at++) {
    const byte = bytes[at] as number;
    if (byte >= 0x80) return unread;
    text += String.fromCharCode(byte);
  }
  return text;
}

function isAscii(bytes: Uint8Array, from: number, end: number): boolean {
  for (let at = from; at < end; at++) if ((bytes[at] as number) >= 0x80) return false;
  return true;
}

function latin1(bytes: Uint8Array, from: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + from, end - from).toString('latin1');
}

/** A copy. */
function readBytes(cursor: Cursor): unknown {
  const { bytes, limits } = cursor;
  cursor.values--;
  const head = bytes[cursor.at++] as number;
  if (head < 0xc4 || head > 0xc6) return unread;
  const length = unsigned(cursor, 1 << (head - 0xc4));
  const end = cursor.at + length;
  if (!(end <= bytes.length) || length > limits.messageStringBytesMax) return unread;
  const copy = Uint8Array.prototype.slice.call(bytes, cursor.at, end);
  cursor.at = end;
  return copy;
}
