import { execFileSync } from 'node:child_process';
import { gunzipSync } from 'node:zlib';

/** What a bzImage may hold, and what unpacks it; xz ends in the middle of the file, so trailing bytes are no error. */
const packings: readonly (readonly [magic: string, unpack: (bytes: Buffer) => Buffer])[] = [
  ['1f8b08', (bytes) => gunzipSync(bytes, { finishFlush: 2 })],
  ['fd377a585a00', (bytes) => filter('xz', ['--decompress', '--stdout', '--single-stream'], bytes)],
  ['28b52ffd', (bytes) => filter('zstd', ['--decompress', '--stdout'], bytes)],
  ['02214c18', (bytes) => filter('lz4', ['--decompress', '--stdout'], bytes)],
];

const elf = Buffer.from('7f454c46', 'hex');

/**
 * The ELF kernel within a bzImage, which Firecracker wants instead of that (the kernel's
 * scripts/extract-vmlinux does the same).
 *
 * @throws Error where none of the packings gives one; xz, zstd and lz4 are programs of their own
 */
export function extractVmlinux(bzImage: Buffer): Buffer {
  if (bzImage.subarray(0, 4).equals(elf)) return bzImage;
  const tried: string[] = [];
  for (const [magic, unpack] of packings) {
    const bytes = Buffer.from(magic, 'hex');
    for (let at = bzImage.indexOf(bytes); at >= 0; at = bzImage.indexOf(bytes, at + 1)) {
      try {
        const kernel = unpack(bzImage.subarray(at));
        if (kernel.subarray(0, 4).equals(elf)) return kernel;
      } catch (error) {
        tried.push((error as Error).message.split('\n')[0] as string);
      }
    }
  }
  throw new Error(`the kernel holds no ELF image that could be unpacked: ${tried.join('; ')}`);
}

/** The output counts, whatever a program says of the bytes behind its end. */
function filter(program: string, args: readonly string[], input: Buffer): Buffer {
  try {
    return execFileSync(program, args, { input, maxBuffer: 2 ** 30, stdio: ['pipe', 'pipe', 'ignore'] });
  } catch (error) {
    const { stdout, code } = error as { stdout?: Buffer; code?: string };
    if (code === 'ENOENT') throw new Error(`${program} is not installed`, { cause: error });
    if (stdout === undefined || stdout.length === 0) throw error;
    return stdout;
  }
}
