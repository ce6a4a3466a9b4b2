/** A path as the native calls want it. */
export function pathBytes(path: string): Uint8Array {
  return Buffer.from(`${path}\0`);
}
