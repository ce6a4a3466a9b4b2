/**
 * Memory for bytes that the kernel reads or writes by the tens of KiB: `bytes` of it, not initialised.
 *
 * An allocator that maps large memory by itself (glibc's) hands it out from the 16th byte of a page on. What the
 * kernel copies begins a page, and AMD's processors (Zen 3 and 4) take four times as long for a `rep movsb` whose
 * destination lies 1 to 31 bytes behind its source, in their pages; so it begins behind that (docs/performance.md).
 */
export function bulkBuffer(bytes: number): Buffer {
  return Buffer.allocUnsafeSlow(pageOffset + bytes).subarray(pageOffset);
}

/** With the 16 bytes before it, the beginning of a cache line. */
const pageOffset = 48;
