import type { Random } from '../../protocol/test/wire.js';

const interesting = [
  0, 1, 2, 4, 7, 8, 0x20, 0x7f, 0x80, 0x81, 0x82, 0xc0, 0xd9, 0xdc, 0xdf, 0xf0, 0xff,
] as const;
const bytesMax = 4096;

/** An input that is a little different, or has something of another. */
export function mutate(input: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  let bytes = Buffer.from(input);
  for (let left = 1 + random.below(random.pick([2, 4, 16])); left > 0; left--) {
    const at = random.below(bytes.length + 1);
    const span = 1 + random.below(random.pick([2, 8, 64]));
    switch (random.below(7)) {
      case 0:
        if (at < bytes.length) bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
        break;
      case 1:
        if (at < bytes.length) bytes[at] = random.pick(interesting);
        break;
      case 2:
        bytes = Buffer.concat([bytes.subarray(0, at), random.bytes(span), bytes.subarray(at)]);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + span)]);
        break;
      case 4:
        bytes = Buffer.concat([
          bytes.subarray(0, at),
          bytes.subarray(Math.max(0, at - span), at),
          bytes.subarray(at),
        ]);
        break;
      case 5: {
        const from = random.below(other.length + 1);
        bytes = Buffer.concat([bytes.subarray(0, at), other.subarray(from, from + span), bytes.subarray(at)]);
        break;
      }
      default:
        bytes = Buffer.concat([bytes.subarray(0, at), other.subarray(random.below(other.length + 1))]);
    }
  }
  return bytes.subarray(0, bytesMax);
}
