/**
 * The wire format, written down a second time and independently of `src/`: what tests build their
 * bytes with and read others' bytes with.
 */

/** Bytes from hex digits; white space and what follows a `#` on a line do not count. */
export function hex(text: string): Buffer {
  const digits = text.replaceAll(/#.*/g, '').replaceAll(/\s/g, '');
  if (!/^([0-9a-f]{2})*$/.test(digits)) throw new Error(`not hex: ${text}`);
  return Buffer.from(digits, 'hex');
}

const crcTable = Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb8_8320 : value >>> 1;
  return value >>> 0;
});

/** CRC-32 of ISO 3309 and zlib, bit by bit as the standard has it. */
export function crcOf(...parts: Uint8Array[]): number {
  let crc = 0xffff_ffff;
  for (const part of parts) {
    for (const byte of part) crc = (crc >>> 8) ^ (crcTable[(crc ^ byte) & 0xff] as number);
  }
  return ~crc >>> 0;
}

export const FIN = 1;
export const CHECKED = 2;
export const GAP = 4;

export interface WireFrame {
  type: number;
  flags: number;
  lane: number;
  channel: number;
  offset: bigint;
  payload: Buffer;
}

export function frame(fields: {
  type: number;
  flags?: number;
  lane?: number;
  channel?: number;
  offset?: number | bigint;
  payload?: Uint8Array;
}): Buffer {
  const { type, flags = 0, lane = 0, channel = 0, offset = 0, payload = Buffer.alloc(0) } = fields;
  const bytes = Buffer.alloc(28 + payload.length);
  bytes.write('HW', 0, 'latin1');
  bytes[2] = type;
  bytes[3] = flags;
  bytes.writeUInt16BE(lane, 4);
  bytes.writeUInt32BE(channel, 8);
  bytes.writeBigUInt64BE(BigInt(offset), 12);
  bytes.writeUInt32BE(payload.length, 20);
  bytes.set(payload, 28);
  if (flags & CHECKED) {
    const low = crcOf(bytes.subarray(0, 6), bytes.subarray(8, 24)) & 0xffff;
    bytes.writeUInt16BE(low === 0 ? 0xffff : low, 6);
  }
  bytes.writeUInt32BE(
    flags & CHECKED ? crcOf(bytes.subarray(0, 24), payload) : crcOf(bytes.subarray(0, 24)),
    24,
  );
  return bytes;
}

/** Reads bytes that are nothing but whole frames, with zeros between them as a host may fill a line. Throws where they are not. */
export function readFrames(bytes: Uint8Array): WireFrame[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const frames: WireFrame[] = [];
  for (let at = 0; at < buffer.length; ) {
    if (buffer[at] === 0) {
      at++;
      continue;
    }
    const length = buffer.readUInt32BE(at + 20);
    const next = at + 28 + length;
    if (next > buffer.length) throw new Error(`a frame at ${at} ends at ${next} of ${buffer.length}`);
    const payload = Buffer.from(buffer.subarray(at + 28, next));
    const read: WireFrame = {
      type: buffer.readUInt8(at + 2),
      flags: buffer.readUInt8(at + 3),
      lane: buffer.readUInt16BE(at + 4),
      channel: buffer.readUInt32BE(at + 8),
      offset: buffer.readBigUInt64BE(at + 12),
      payload,
    };
    if (!frame(read).equals(buffer.subarray(at, next)))
      throw new Error(`a frame at ${at} is not as it should be`);
    frames.push(read);
    at = next;
  }
  return frames;
}

/** Numbers that look random and are the same in every run (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** From 0 to `limit` - 1. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b_79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    for (let i = 0; i < length; i++) bytes[i] = this.below(256);
    return bytes;
  }
}
