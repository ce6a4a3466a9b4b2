import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { FrameDecoder, Spool, SpoolBudget } from '@hawser/protocol';
import type koffi from 'koffi';
import t from 'tap';
// The native module has the allocator map large memory by itself, as the agent does.
import '../src/ffi/native.js';

const { address } = createRequire(import.meta.url)('koffi') as typeof koffi;
const KiB = 1024;
const MiB = 1024 * KiB;

/** Where in its page it begins, bytes. */
function pageOffset(memory: Uint8Array): number {
  return Number(address(memory) % 4096n);
}

/** Not mapped for itself. */
function isInHeap(memory: Uint8Array): boolean {
  const [, from = '', to = ''] =
    /^(\w+)-(\w+) .*\[heap\]$/m.exec(readFileSync('/proc/self/maps', 'latin1')) ?? [];
  return address(memory) >= BigInt(`0x${from}`) && address(memory) < BigInt(`0x${to}`);
}

/** What the kernel copies begins a page: a copy to there or a little behind takes four times as long on some processors. */
function isSlow(offset: number): boolean {
  return offset > 0 && offset < 32;
}

/** Room for more than malloc has holes for in its heap, of which the test's own start has left some 30 MiB. It stays. */
const spool = new Spool(new SpoolBudget(256 * MiB), {}, 128 * MiB);

t.test('what is read into a spool does not lie a little behind the beginning of a page', (t) => {
  const offsets: number[] = [];
  for (let room = spool.room(); room.length > 0; room = spool.room()) {
    // What malloc has in its heap, as the first, which is small, lies wherever there is room.
    if (!isInHeap(room)) offsets.push(pageOffset(room));
    spool.commit(room.length);
  }
  t.ok(offsets.length > 10, `${offsets.length} pieces`);
  t.strictSame(offsets.filter(isSlow), []);
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
