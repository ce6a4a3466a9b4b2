/** The table of the reflected polynomial 0xEDB88320 (RFC 1952, section 8). */
const table = new Uint32Array(256);
for (let byte = 0; byte < 256; byte++) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  table[byte] = crc;
}

/** From so many bytes on, zlib is quicker than we are. */
const zlibFromBytes = 1024;

/**
 * zlib's CRC-32 of a part of `bytes`, continuing from `value`.
 *
 * A header is so short that going to zlib takes longer than its sum, and loading it a twentieth of the
 * agent's start; so it is only asked for payloads.
 */
export function crc32(bytes: Uint8Array, from: number, to: number, value = 0): number {
  if (to - from >= zlibFromBytes) {
    return process.getBuiltinModule('node:zlib').crc32(bytes.subarray(from, to), value);
  }
  let crc = ~value;
  for (let at = from; at < to; at++)
    crc = (crc >>> 8) ^ (table[(crc ^ (bytes[at] as number)) & 0xff] as number);
  return ~crc >>> 0;
}
