const firstBytes = 4096;

/** A buffer that has grown beyond this is not kept. */
const keptBytesMax = 64 * 1024;

/** Longer strings are worth a call into Node. */
const shortStringChars = 48;

/**
 * Writes payloads as MessagePack, each value in its shortest form; whole numbers beyond 32 bits as doubles, which
 * every reader has. It takes what messages are made of; anything else is the library's, which says what is wrong.
 */
export class PayloadWriter {
  #bytes: Buffer = Buffer.allocUnsafeSlow(firstBytes);
  #at = 0;

  /**
   * @param headroom bytes that are left free in front.
   * @returns a buffer of its own; nothing for what is not written here.
   */
  write(payload: object, headroom: number, depthMax: number): Buffer | undefined {
    this.#at = 0;
    const written = this.#map(payload as Readonly<Record<string, unknown>>, depthMax);
    let result: Buffer | undefined;
    if (written) {
      result = Buffer.allocUnsafe(headroom + this.#at);
      result.set(this.#bytes.subarray(0, this.#at), headroom);
    }
    if (this.#bytes.length > keptBytesMax) this.#bytes = Buffer.allocUnsafeSlow(firstBytes);
    return result;
  }

  #value(value: unknown, depth: number): boolean {
    switch (typeof value) {
      case 'string':
        this.#string(value);
        return true;
      case 'number':
        this.#number(value);
        return true;
      case 'boolean':
        this.#reserve(1);
        this.#bytes[this.#at++] = value ? 0xc3 : 0xc2;
        return true;
      case 'bigint':
        return this.#bigint(value);
      case 'object':
        if (value instanceof Uint8Array) this.#binary(value);
        else if (Array.isArray(value)) return this.#list(value, depth);
        else return value !== null && this.#map(value as Readonly<Record<string, unknown>>, depth);
        return true;
      default:
        return false;
    }
  }

  #map(map: Readonly<Record<string, unknown>>, depth: number): boolean {
    const prototype: unknown = Object.getPrototypeOf(map);
    if (depth === 0 || (prototype !== Object.prototype && prototype !== null)) return false;
    const keys = Object.keys(map);
    let count = 0;
    for (let i = 0; i < keys.length; i++) if (map[keys[i] as string] !== undefined) count++;
    this.#length(count, 0x80, 15, 0xde);
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i] as string;
      const value = map[key];
      if (value === undefined) continue;
      this.#string(key);
      if (!this.#value(value, depth - 1)) return false;
    }
    return true;
  }

  #list(list: readonly unknown[], depth: number): boolean {
    if (depth === 0) return false;
    this.#length(list.length, 0x90, 15, 0xdc);
    for (let i = 0; i < list.length; i++) if (!this.#value(list[i], depth - 1)) return false;
    return true;
  }

  #number(value: number): void {
    this.#reserve(9);
    const bytes = this.#bytes;
    if (!Number.isInteger(value) || value > 0xffff_ffff || value < -0x8000_0000) {
      bytes[this.#at] = 0xcb;
      this.#at = bytes.writeDoubleBE(value, this.#at + 1);
    } else if (value >= 0) {
      if (value < 0x80) bytes[this.#at++] = value;
      else if (value <= 0xff) this.#unsigned(0xcc, value, 1);
      else if (value <= 0xffff) this.#unsigned(0xcd, value, 2);
      else this.#unsigned(0xce, value, 4);
    } else if (value >= -32) bytes[this.#at++] = value;
    else if (value >= -0x80) this.#unsigned(0xd0, value, 1);
    else if (value >= -0x8000) this.#unsigned(0xd1, value, 2);
    else this.#unsigned(0xd2, value, 4);
  }

  #bigint(value: bigint): boolean {
    this.#reserve(9);
    if (value < -(2n ** 63n) || value >= 2n ** 64n) return false;
    this.#bytes[this.#at] = value < 0n ? 0xd3 : 0xcf;
    this.#at = this.#bytes.writeBigUInt64BE(BigInt.asUintN(64, value), this.#at + 1);
    return true;
  }

  #string(text: string): void {
    this.#reserve(5 + 3 * text.length);
    const start = this.#at;
    // Its length in bytes is not known yet: most often it is as many as there are characters.
    if (text.length <= shortStringChars) {
      const bytes = this.#bytes;
      this.#stringHead(text.length);
      let at = this.#at;
      let i = 0;
      for (; i < text.length; i++) {
        const code = text.charCodeAt(i);
        if (code >= 0x80) break;
        bytes[at++] = code;
      }
      if (i === text.length) {
        this.#at = at;
        return;
      }
      this.#at = start;
    }
    const length = Buffer.byteLength(text);
    this.#stringHead(length);
    this.#at += this.#bytes.write(text, this.#at, length, 'utf8');
  }

  #stringHead(length: number): void {
    if (length < 32) this.#bytes[this.#at++] = 0xa0 | length;
    else if (length <= 0xff) this.#unsigned(0xd9, length, 1);
    else if (length <= 0xffff) this.#unsigned(0xda, length, 2);
    else this.#unsigned(0xdb, length, 4);
  }

  #binary(given: Uint8Array): void {
    this.#reserve(5 + given.length);
    if (given.length <= 0xff) this.#unsigned(0xc4, given.length, 1);
    else if (given.length <= 0xffff) this.#unsigned(0xc5, given.length, 2);
    else this.#unsigned(0xc6, given.length, 4);
    this.#bytes.set(given, this.#at);
    this.#at += given.length;
  }

  /** A list's or map's head: up to `fixMax` in one byte, else `wide` and two bytes, or one more and four. */
  #length(length: number, fix: number, fixMax: number, wide: number): void {
    this.#reserve(5);
    if (length <= fixMax) this.#bytes[this.#at++] = fix | length;
    else if (length <= 0xffff) this.#unsigned(wide, length, 2);
    else this.#unsigned(wide + 1, length, 4);
  }

  #unsigned(head: number, value: number, width: 1 | 2 | 4): void {
    const bytes = this.#bytes;
    bytes[this.#at++] = head;
    for (let shift = 8 * (width - 1); shift >= 0; shift -= 8) bytes[this.#at++] = value >>> shift;
  }

  #reserve(bytes: number): void {
    const needed = this.#at + bytes;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#bytes.length));
    grown.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = grown;
  }
}
