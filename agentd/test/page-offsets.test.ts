import { createRequire } from 'node:module';
import { FrameDecoder, Spool, SpoolBudget } from '@hawser/protocol';
import type koffi from 'koffi';
import t from 'tap';
// The native module has the allocator map large memory by itself, as the agent does.
import '../src/ffi/native.js';

const { address } = createRequire(import.meta.url)('koffi') as typeof koffi;
const KiB = 1024;

/** Where in its page it begins, bytes. */
function pageOffset(memory: Uint8Array): number {
  return Number(address(memory) % 4096n);
}

/** What the kernel copies begins a page: a copy to there or a little behind takes four times as long on some processors. */
function isSlow(offset: number): boolean {
  return offset > 0 && offset < 32;
}

t.test('what is read into a spool does not lie a little behind the beginning of a page', (t) => {
  const spool = new Spool(new SpoolBudget(16 * KiB * KiB), {}, 1024 * KiB);
  const offsets: number[] = [];
  for (let room = spool.room(); room.length > 0; room = spool.room()) {
    // The first, which is small, lies wherever the heap has room.
    if (room.length >= 64 * KiB) offsets.push(pageOffset(room));
    spool.commit(room.length);
  }
  t.ok(offsets.length > 10, `${offsets.length} pieces`);
  // One may come from a hole in malloc's heap, where one place in 256 is slow.
  t.ok(offsets.filter(isSlow).length <= 1, `at ${offsets.join(', ')}`);
  t.end();
});

t.test('nor what is read from a line', (t) => {
  const sink = { frame: () => true, skipped: () => {} };
  for (const bufferBytes of [64 * KiB, 128 * KiB, 1024 * KiB]) {
    const decoder = new FrameDecoder(sink, { frameBytesMax: 1024, checkedOnly: false, bufferBytes });
    t.notOk(isSlow(pageOffset(decoder.room())), `buffer of ${bufferBytes}`);
  }
  t.end();
});
