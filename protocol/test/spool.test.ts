import t from 'tap';
import { Spool, SpoolBudget } from '../src/spool.js';
import { Random } from './wire.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const owner = {};

/** The byte that stands at a position of the test's stream. */
function byteAt(position: number): number {
  return (position * 31 + (position >>> 8)) & 0xff;
}

function fill(room: Uint8Array, position: number, bytes: number): void {
  for (let i = 0; i < bytes; i++) room[i] = byteAt(position + i);
}

/** The first position from `from` on whose byte is not as it was written, or `undefined`. */
function wrongFrom(spool: Spool, from: number): number | undefined {
  for (let at = from; at < spool.end; ) {
    const view = spool.view(at, 100_000);
    if (view.length === 0) return at;
    for (let i = 0; i < view.length; i++) if (view[i] !== byteAt(at + i)) return at + i;
    at += view.length;
  }
  return undefined;
}

t.test('whatever is done to it, a spool holds the bytes between its start and its end', (t) => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = new Random(seed);
    const bytesMax = random.pick([1, 4 * KiB, 10_000, 64 * KiB, 256 * KiB]);
    const budget = new SpoolBudget(random.pick([1, 100_000, 16 * MiB]));
    const spool = new Spool(budget, owner, bytesMax);
    const views: { from: number; view: Uint8Array }[] = [];
    let start = 0;
    let end = 0;
    let pushed = 0;
    for (let step = 0; step < 400; step++) {
      const action = random.below(5);
      if (action === 0) {
        const room = spool.room();
        const bytes = random.below(Math.min(room.length, 30_000) + 1);
        fill(room, end, bytes);
        spool.commit(bytes);
        end += bytes;
      } else if (action === 1) {
        const chunk = new Uint8Array(random.below(20_000));
        fill(chunk, end, chunk.length);
        const taken = spool.write(chunk);
        if (taken < chunk.length && spool.room().length > 0)
          t.fail('a write stopped before the spool was full');
        end += taken;
      } else if (action === 2) {
        start += random.below(end - start + 1);
        spool.free(start);
      } else if (action === 3 && random.below(4) === 0) {
        const chunk = new Uint8Array(random.below(70_000) + 1);
        fill(chunk, end, chunk.length);
        spool.push(chunk);
        end += chunk.length;
        pushed += chunk.length;
      } else if (end > start) {
        const from = start + random.below(end - start);
        views.push({ from, view: spool.view(from, random.below(10_000)) });
      }
      if (spool.start !== start || spool.end !== end || spool.bytes !== end - start)
        t.fail('positions are wrong');
      if (end - start > bytesMax + pushed) t.fail('more bytes than allowed');
      // Beside them, what is left of the newest piece and what was freed of the oldest.
      const piece = bytesMax < 256 * KiB ? 4 * KiB : 64 * KiB;
      if (spool.memoryBytes > end - start + 2 * piece) t.fail('more memory than allowed');
      if (budget.bytes !== spool.memoryBytes) t.fail('the budget does not know');
      if (step % 20 === 0 && wrongFrom(spool, start) !== undefined) t.fail(`bytes are wrong (seed ${seed})`);
      for (const { from, view } of views) {
        if (from < start) continue;
        for (let i = 0; i < view.length; i += 97) if (view[i] !== byteAt(from + i)) t.fail('a view changed');
      }
    }
    spool.close();
    t.equal(budget.bytes, 0);
    t.equal(spool.end, end, 'it still says how much it carried');
  }
  t.end();
});

t.test('an empty spool takes no memory, and an idle one keeps a small piece', (t) => {
  const budget = new SpoolBudget(MiB);
  const spool = new Spool(budget, owner, MiB);
  t.equal(budget.bytes, 0);
  spool.write(Buffer.from('x'));
  t.equal(budget.bytes, 4 * KiB);
  spool.free(1);
  t.equal(budget.bytes, 4 * KiB);
  spool.write(Buffer.alloc(200 * KiB));
  t.equal(budget.bytes, (4 + 4 * 64) * KiB);
  spool.free(spool.end);
  t.equal(budget.bytes, 0);
  t.end();
});

t.test('a budget that is spent leaves every stream enough to move', (t) => {
  const budget = new SpoolBudget(64 * KiB);
  const spools = Array.from({ length: 100 }, () => new Spool(budget, owner, MiB));
  for (const spool of spools) t.ok(spool.write(Buffer.alloc(100 * KiB)) >= 4 * KiB);
  t.ok(budget.bytes <= 64 * KiB + 100 * 4 * KiB);
  for (const spool of spools) {
    spool.free(spool.end);
    t.ok(spool.room().length > 0);
    spool.close();
  }
  t.equal(budget.bytes, 0);
  t.end();
});

t.test('the one read more that a dead writer is owed fits, whatever the limits', (t) => {
  const budget = new SpoolBudget(1);
  const spool = new Spool(budget, owner, 4 * KiB);
  t.equal(spool.write(Buffer.alloc(10_000)), 4 * KiB);
  t.equal(spool.room().length, 0);
  spool.push(Buffer.alloc(64 * KiB));
  t.equal(spool.bytes, 68 * KiB);
  t.equal(spool.room().length, 0);
  t.end();
});

t.test('memory that was freed is used again, by the same owner only', (t) => {
  const budget = new SpoolBudget(16 * MiB);
  const held = new Spool(budget, {}, 4 * MiB);
  held.write(Buffer.alloc(2 * MiB));
  const use = (by: object): ArrayBufferLike => {
    const spool = new Spool(budget, by, MiB);
    spool.write(Buffer.alloc(MiB / 2));
    const { buffer } = spool.view(4 * KiB, 1);
    spool.free(spool.end);
    return buffer;
  };
  const [one, other] = [{}, {}];
  const first = new Set([use(one)]);
  t.notOk(first.has(use(other)));
  for (let i = 0; i < 20; i++) first.add(use(one));
  t.ok(first.size < 20, 'used again');
  budget.forget(one);
  t.notOk(first.has(use(one)));
  t.end();
});

t.test('what a load needed is let go of when it is over', (t) => {
  const budget = new SpoolBudget(16 * MiB);
  const spools = Array.from({ length: 12 }, () => new Spool(budget, owner, MiB));
  for (const spool of spools) spool.write(Buffer.alloc(MiB));
  const held = budget.bytes + budget.freeBytes;
  t.ok(held > 10 * MiB);
  budget.settle(10_000);
  for (const spool of spools) spool.free(spool.end);
  for (const nowMs of [20_000, 30_000]) budget.settle(nowMs);
  t.ok(budget.bytes + budget.freeBytes <= 1.1 * MiB);
  t.end();
});

t.test('what a load needs is at hand again after a moment in which it holds nothing', (t) => {
  const budget = new SpoolBudget(16 * MiB);
  const spools = Array.from({ length: 8 }, () => new Spool(budget, owner, MiB));
  const round = (): Set<ArrayBufferLike> => {
    const memory = new Set<ArrayBufferLike>();
    for (const spool of spools) {
      const from = spool.end;
      spool.write(Buffer.alloc(MiB));
      for (let at = from; at < spool.end; at += spool.view(at, MiB).length)
        memory.add(spool.view(at, MiB).buffer);
    }
    for (const spool of spools) spool.free(spool.end);
    return memory;
  };
  round(); // a stream's first piece is a small one
  let before = round();
  const held = budget.bytes + budget.freeBytes;
  for (let nowMs = 1_000; nowMs < 60_000; nowMs += 1_000) {
    budget.settle(nowMs);
    const now = round();
    if (![...now].every((buffer) => before.has(buffer))) t.fail(`new memory at ${nowMs} ms`);
    before = now;
  }
  t.equal(budget.bytes + budget.freeBytes, held);

  for (const nowMs of [70_000, 70_001, 72_000]) budget.settle(nowMs);
  t.equal(budget.bytes + budget.freeBytes, held, 'the last seconds needed it');
  budget.settle(74_000);
  t.ok(budget.bytes + budget.freeBytes <= 1.1 * MiB, 'these did not');
  t.end();
});

t.test('memory of a stream that was closed while its bytes were on their way is not used again', (t) => {
  const budget = new SpoolBudget(16 * MiB);
  const spool = new Spool(budget, owner, MiB);
  spool.write(Buffer.alloc(MiB, 1));
  const onItsWay = spool.view(0, MiB);
  spool.close();
  const next = new Spool(budget, owner, MiB);
  next.write(Buffer.alloc(MiB, 2));
  t.ok(onItsWay.every((byte) => byte === 1));
  t.end();
});

t.test('positions pass 2^32', (t) => {
  const spool = new Spool(new SpoolBudget(MiB), owner, 64 * KiB);
  const start = 2 ** 32 - 30_000;
  // Positions move without bytes: what matters is where they point to.
  const step = new Uint8Array(64 * KiB);
  while (spool.end < start) {
    const bytes = Math.min(step.length, start - spool.end);
    spool.write(step.subarray(0, bytes));
    spool.free(spool.end);
  }
  const chunk = new Uint8Array(60_000);
  fill(chunk, start, chunk.length);
  t.equal(spool.write(chunk), chunk.length);
  t.equal(spool.end, 2 ** 32 + 30_000);
  t.equal(wrongFrom(spool, start), undefined);
  t.end();
});

t.test('a spool that drops its oldest piece uses its memory again', (t) => {
  const budget = new SpoolBudget(16 * MiB);
  const spool = new Spool(budget, {}, 4 * 64 * KiB);
  const written = new Random(5).bytes(2 * MiB);
  for (let at = 0; at < written.length; ) {
    const room = spool.room();
    if (room.length === 0) {
      spool.rotate();
      continue;
    }
    const part = written.subarray(at, at + Math.min(room.length, 10_000));
    room.set(part);
    spool.commit(part.length);
    at += part.length;
    for (let from = spool.start; from < spool.end; ) {
      const view = spool.view(from, spool.end - from);
      if (!Buffer.from(view).equals(written.subarray(from, from + view.length)))
        t.fail(`other bytes at ${from}`);
      from += view.length;
    }
  }
  t.equal(spool.end, written.length);
  t.ok(spool.bytes >= 2 * 64 * KiB && spool.bytes <= 4 * 64 * KiB, `${spool.bytes} bytes are kept`);
  t.equal(budget.bytes, spool.memoryBytes);
  t.equal(budget.freeBytes, 0);
  spool.close();
  t.equal(budget.bytes, 0);
  t.end();
});
