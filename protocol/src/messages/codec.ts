import { Decoder, Encoder } from '@msgpack/msgpack';
import * as v from 'valibot';
import { HawserError } from '../errors.js';
import type { Limits } from '../limits.js';
import { defaultLimits } from '../limits.js';
import type { Payload, PayloadName } from './schemas.js';
import { payloadSchemas } from './schemas.js';

/** Encodes and decodes the MessagePack maps of link frames and messages, and checks them against their schemas. */
export class MessageCodec {
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

  /** @returns a buffer of its own. */
  encode<N extends PayloadName>(_name: N, payload: Payload<N>): Uint8Array {
    return this.#encoder.encode(payload);
  }

  /**
   * Decodes and checks one payload. Byte strings in the result are copies: nothing refers to `bytes` afterwards.
   *
   * @throws HawserError `message_invalid`, naming the type and what was wrong with it.
   */
  decode<N extends PayloadName>(name: N, bytes: Uint8Array): Payload<N> {
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
  /** Values still to come at each open level. */
  const open: number[] = [1];
  let at = 0;
  let values = 0;
  const big = (width: number): number => {
    let value = 0;
    for (let i = 0; i < width; i++) value = value * 256 + (bytes[at + i] ?? 0);
    at += width;
    return value;
  };
  const skip = (count: number): void => {
    at += count;
  };
  while (open.length > 0 && at < bytes.length) {
    const top = open.length - 1;
    if (open[top] === 0) {
      open.pop();
      continue;
    }
    (open[top] as number)--;
    if (++values > limits.messageValuesMax) {
      throw new HawserError(
        'message_invalid',
        `${name} has more than messageValuesMax ${limits.messageValuesMax} values`,
      );
    }
    const byte = bytes[at++] as number;
    let children = -1;
    if (byte <= 0x7f || byte >= 0xe0 || byte === 0xc0 || byte === 0xc2 || byte === 0xc3) continue;
    else if (byte <= 0x8f) children = (byte & 15) * 2;
    else if (byte <= 0x9f) children = byte & 15;
    else if (byte <= 0xbf) skip(byte & 31);
    else if (byte === 0xc4 || byte === 0xd9) skip(big(1));
    else if (byte === 0xc5 || byte === 0xda) skip(big(2));
    else if (byte === 0xc6 || byte === 0xdb) skip(big(4));
    else if (byte >= 0xca && byte <= 0xcb) skip(byte === 0xca ? 4 : 8);
    else if (byte >= 0xcc && byte <= 0xcf) skip(1 << (byte - 0xcc));
    else if (byte >= 0xd0 && byte <= 0xd3) skip(1 << (byte - 0xd0));
    else if (byte === 0xdc) children = big(2);
    else if (byte === 0xdd) children = big(4);
    else if (byte === 0xde) children = big(2) * 2;
    else if (byte === 0xdf) children = big(4) * 2;
    else
      throw new HawserError(
        'message_invalid',
        `${name} holds an extension or reserved type (0x${byte.toString(16)})`,
      );
    if (children < 0) continue;
    if (open.length > limits.messageDepthMax) {
      throw new HawserError(
        'message_invalid',
        `${name} is nested deeper than messageDepthMax ${limits.messageDepthMax}`,
      );
    }
    open.push(children);
  }
}
