import { Decoder, Encoder } from '@msgpack/msgpack';
import * as v from 'valibot';
import { HawserError } from '../errors.js';
import type { Limits } from '../limits.js';
import { defaultLimits } from '../limits.js';
import type { ReadPayload } from './payload-reader.js';
import { payloadReader, unread } from './payload-reader.js';
import { PayloadWriter } from './payload-writer.js';
import type { Payload, PayloadName } from './schemas.js';
import { payloadSchemas } from './schemas.js';

const readers: { [N in PayloadName]?: ReadPayload } = {};

/** Encodes and decodes the MessagePack maps of link frames and messages, and checks them against their schemas. */
export class MessageCodec {
  readonly #writer = new PayloadWriter();
  readonly #encoder: Encoder;
  readonly #decoder: Decoder;
  readonly #limits: Limits;

  constructor(limits: Limits = defaultLimits) {
    this.#limits = limits;
    this.#encoder = new Encoder({
      ignoreUndefined: true,
      maxDepth: limits.messageDepthMax,
      useBigInt64: true,
    });
    this.#decoder = new Decoder({
      useBigInt64: true,
      maxStrLength: limits.messageStringBytesMax,
      maxBinLength: limits.messageStringBytesMax,
      maxArrayLength: limits.messageListMax,
      maxMapLength: limits.messageMapMax,
      maxExtLength: 0,
    });
  }

  /**
   * @param headroom bytes that are left free in front.
   * @returns a buffer of its own.
   */
  encode<N extends PayloadName>(_name: N, payload: Payload<N>, headroom = 0): Uint8Array {
    const written = this.#writer.write(payload, headroom, this.#limits.messageDepthMax);
    if (written !== undefined) return written;
    const encoded = this.#encoder.encode(payload);
    const bytes = new Uint8Array(headroom + encoded.length);
    bytes.set(encoded, headroom);
    return bytes;
  }

  /**
   * Decodes and checks one payload. Byte strings in the result are copies: nothing refers to `bytes` afterwards.
   *
   * @throws HawserError `message_invalid`, naming the type and what was wrong with it.
   */
  decode<N extends PayloadName>(name: N, bytes: Uint8Array): Payload<N> {
    const read = (readers[name] ??= payloadReader(payloadSchemas[name]));
    const value = read(bytes, this.#limits);
    return value === unread ? this.#judge(name, bytes) : (value as Payload<N>);
  }

  /** For what is wrong, and for what is allowed and rare. @throws HawserError as `decode`. */
  #judge<N extends PayloadName>(name: N, bytes: Uint8Array): Payload<N> {
    assertModest(name, bytes, this.#limits);
    let decoded: unknown;
    try {
      decoded = this.#decoder.decode(bytes);
    } catch (error) {
      throw new HawserError('message_invalid', `${name} is not MessagePack: ${(error as Error).message}`, {
        cause: error,
      });
    }
    if (kindOf(decoded) !== 'a map') {
      throw new HawserError('message_invalid', `${name}: expected map, not ${kindOf(decoded)}`);
    }
    const result = v.safeParse(payloadSchemas[name], normalise(decoded));
    if (result.success) return result.output;
    throw new HawserError('message_invalid', explain(name, result.issues[0]));
  }
}

/** Names the field, what belongs there and what kind of thing was there; never its contents, which may be a secret. */
function explain(name: string, issue: v.BaseIssue<unknown>): string {
  const path = [name, ...(issue.path ?? []).map((step) => String(step.key).slice(0, shownKeyMax))].join('.');
  if (issue.input === undefined) return `${path} is missing`;
  // Without an expectation the text is the schema's own, or has no more than a number in it.
  if (issue.expected === null) return `${path}: ${issue.message}`;
  const expected = issue.expected.replaceAll(/Uint8Array|Array|Object/g, (kind) => wireNames[kind] ?? kind);
  return `${path}: expected ${expected}, not ${kindOf(issue.input)}`;
}

const wireNames: Record<string, string> = { Array: 'list', Object: 'map', Uint8Array: 'byte string' };

function kindOf(value: unknown): string {
  if (value === null) return 'nil';
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean')
    return String(value);
  if (typeof value === 'string') return 'a string';
  if (value instanceof Uint8Array) return `a byte string of ${value.length} bytes`;
  return Array.isArray(value) ? 'a list' : 'a map';
}

/** A field's name in a message about it; the peer may have sent a long one. */
const shownKeyMax = 64;

/** 64-bit integers that a number holds become numbers; byte strings are copied out of the frame. */
function normalise(value: unknown): unknown {
  if (typeof value === 'bigint') {
    return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
  }
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Uint8Array) return Uint8Array.prototype.slice.call(value);
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) value[i] = normalise(value[i]);
    return value;
  }
  const map = value as Record<string, unknown>;
  for (const key of Object.keys(map)) map[key] = normalise(map[key]);
  return map;
}

/**
 * Refuses what the library does not: nesting beyond `messageDepthMax`, more than `messageValuesMax`
 * values in all (an empty map costs a hostile peer one byte, and us fifty), and extension types. It
 * walks MessagePack's structure only, before anything is decoded.
 */
function assertModest(name: string, bytes: Uint8Array, limits: Limits): void {
  /** Values still to come at each level that was left for one inside it. */
  const outer: number[] = [];
  let toCome = 1;
  let values = 0;
  let at = 0;
  while (at < bytes.length) {
    if (toCome === 0) {
      const left = outer.pop();
      if (left === undefined) return;
      toCome = left;
      continue;
    }
    toCome--;
    if (++values > limits.messageValuesMax) {
      throw new HawserError(
        'message_invalid',
        `${name} has more than messageValuesMax ${limits.messageValuesMax} values`,
      );
    }
    const byte = bytes[at++] as number;
    const layout = layouts[byte] as number;
    if (layout >= 0) {
      at += layout;
      continue;
    }
    if (layout === refused) {
      throw new HawserError(
        'message_invalid',
        `${name} holds an extension or reserved type (0x${byte.toString(16)})`,
      );
    }
    // The bytes of a length follow, or the number itself is in the head.
    let count = byte < 0xa0 ? byte & 15 : 0;
    for (let width = widthOf(layout); width > 0; width--) count = count * 256 + (bytes[at++] ?? 0);
    if (layout >= bytesOf4) {
      at += count;
      continue;
    }
    if (outer.length + 1 > limits.messageDepthMax) {
      throw new HawserError(
        'message_invalid',
        `${name} is nested deeper than messageDepthMax ${limits.messageDepthMax}`,
      );
    }
    outer.push(toCome);
    toCome = isMap(byte) ? count * 2 : count;
  }
}

/**
 * What follows each head byte of MessagePack: so many bytes of a value without a length of its own, or
 * (negative) a string or byte string with a length of 1, 2 or 4 bytes, a list or map with none, 2 or 4, or
 * nothing that may come.
 */
const bytesOf4 = -4;
const container = -16;
const refused = -128;
const layouts = new Int8Array(256);
for (let byte = 0xa0; byte <= 0xbf; byte++) layouts[byte] = byte & 31;
layouts.fill(container, 0x80, 0xa0);
layouts.set([-1, -2, bytesOf4, refused, refused, refused, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8], 0xc4);
layouts.fill(refused, 0xd4, 0xd9);
layouts.set([-1, -2, bytesOf4, container - 2, container - 4, container - 2, container - 4], 0xd9);
layouts[0xc1] = refused;

function widthOf(layout: number): number {
  return layout <= container ? container - layout : -layout;
}

function isMap(byte: number): boolean {
  return byte < 0x90 || byte >= 0xde;
}
