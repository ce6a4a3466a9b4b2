import { crc32 } from './crc32.js';

/** Bytes of every frame's header. */
export const headerBytes = 28;

/** `HW`, the first two bytes of every frame. */
export const magic0 = 0x48;
export const magic1 = 0x57;

export const frameFlags = {
  /** The stream ends after this payload; in a `Credit`: everything up to the end was consumed. */
  FIN: 0x01,
  /** The crc covers the payload too. */
  CHECKED: 0x02,
  /** Bytes before `offset` were dropped and will not come. */
  GAP: 0x04,
} as const;

/** The positions of the header's fields, bytes from its start. Integers are big-endian. */
export const headerAt = {
  type: 2,
  flags: 3,
  lane: 4,
  check: 6,
  channel: 8,
  offset: 12,
  length: 20,
  crc: 24,
} as const;

const two32 = 2 ** 32;

/** Largest offset that a frame may carry: what a JavaScript number holds exactly, 8 PiB. */
export const offsetMax = Number.MAX_SAFE_INTEGER;

/** One frame as a receiver sees it. `payload` is a view of the receiver's buffer. */
export interface Frame {
  type: number;
  flags: number;
  lane: number;
  channel: number;
  offset: number;
  payload: Uint8Array;
}

export function readUint16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}

export function readUint32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) * 0x1000000 +
      (((bytes[at + 1] as number) << 16) | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number))) >>>
    0
  );
}

export function writeUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** An offset above `offsetMax` comes back as `Infinity`: no receiver accepts it. */
export function readOffset(bytes: Uint8Array, at: number): number {
  const high = readUint32(bytes, at);
  return high > 0x1fffff ? Number.POSITIVE_INFINITY : high * two32 + readUint32(bytes, at + 4);
}

export function writeOffset(bytes: Uint8Array, at: number, value: number): void {
  writeUint32(bytes, at, Math.floor(value / two32));
  writeUint32(bytes, at + 4, value % two32);
}

/** What a header says beside its payload's length. */
export type FrameHeader = Omit<Frame, 'payload'>;

/**
 * Writes a frame's header at `at` of `target`.
 *
 * @param payload the payload, for its length and, where `flags` has `CHECKED`, for its checksum.
 */
export function writeHeader(target: Uint8Array, at: number, frame: Readonly<Frame>): void {
  writeFields(target, at, frame, frame.payload.length);
  writeUint32(target, at + headerAt.crc, frameCrc(target, at, frame.flags, frame.payload));
}

/** Writes the header of a frame whose payload is there already: everything behind the first `headerBytes`. */
export function sealFrame(bytes: Uint8Array, header: Readonly<FrameHeader>): void {
  writeFields(bytes, 0, header, bytes.length - headerBytes);
  writeUint32(bytes, headerAt.crc, frameCrc(bytes, 0, header.flags, bytes, headerBytes));
}

function writeFields(
  target: Uint8Array,
  at: number,
  header: Readonly<FrameHeader>,
  payloadBytes: number,
): void {
  target[at] = magic0;
  target[at + 1] = magic1;
  target[at + headerAt.type] = header.type;
  target[at + headerAt.flags] = header.flags;
  target[at + headerAt.lane] = header.lane >>> 8;
  target[at + headerAt.lane + 1] = header.lane;
  writeUint32(target, at + headerAt.channel, header.channel);
  writeOffset(target, at + headerAt.offset, header.offset);
  writeUint32(target, at + headerAt.length, payloadBytes);
  const check = header.flags & frameFlags.CHECKED ? headerCheck(target, at) : 0;
  target[at + headerAt.check] = check >>> 8;
  target[at + headerAt.check + 1] = check;
}

/**
 * The checksum that belongs into the header at `at`: CRC-32 (zlib's) of its first 24 bytes, and of the payload where CHECKED.
 *
 * @param payload what holds the payload, from `from` up to `to`.
 */
export function frameCrc(
  bytes: Uint8Array,
  at: number,
  flags: number,
  payload: Uint8Array,
  from = 0,
  to = payload.length,
): number {
  const ofHeader = crc32(bytes, at, at + headerAt.crc);
  return flags & frameFlags.CHECKED && to > from ? crc32(payload, from, to, ofHeader) : ofHeader;
}

/**
 * What the `check` field of a CHECKED frame holds: 16 bits over the header alone, so that a corrupted
 * length is known before that many bytes were waited for. Never 0, which is what other frames have there.
 */
export function headerCheck(bytes: Uint8Array, at: number): number {
  const before = crc32(bytes, at, at + headerAt.check);
  const crc = crc32(bytes, at + headerAt.channel, at + headerAt.crc, before);
  return crc & 0xffff || 0xffff;
}

const nothing = new Uint8Array(0);

/** One whole frame in a buffer of its own. `payload` is copied. */
export function encodeFrame(frame: { readonly type: number } & Partial<Readonly<Frame>>): Uint8Array {
  const { type, flags = 0, lane = 0, channel = 0, offset = 0, payload = nothing } = frame;
  const bytes = Buffer.allocUnsafe(headerBytes + payload.length);
  bytes.set(payload, headerBytes);
  sealFrame(bytes, { type, flags, lane, channel, offset });
  return bytes;
}

/** Puts an encoded frame onto another lane, and changes whether it is CHECKED, in place. */
export function restampFrame(bytes: Uint8Array, lane: number, checked: boolean): void {
  const before = bytes[headerAt.flags] as number;
  sealFrame(bytes, {
    type: bytes[headerAt.type] as number,
    flags: checked ? before | frameFlags.CHECKED : before & ~frameFlags.CHECKED,
    lane,
    channel: readUint32(bytes, headerAt.channel),
    offset: readOffset(bytes, headerAt.offset),
  });
}
