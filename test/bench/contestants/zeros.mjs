import { once } from 'node:events';

/** Writes `bytes` zeros and ends, at the pace that the writable asks for. */
export async function writeZeros(writable, bytes, chunkBytes) {
  const chunk = Buffer.alloc(chunkBytes);
  for (let left = bytes; left > 0; left -= chunkBytes) {
    if (!writable.write(left < chunkBytes ? chunk.subarray(0, left) : chunk)) await once(writable, 'drain');
  }
  writable.end();
}
