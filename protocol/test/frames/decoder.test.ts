import t from 'tap';
import { encodeFrame } from '../../src/frames/header.js';
import { CHECKED, FIN, frame, hex, Random } from '../wire.js';
import { Collector, KiB, MiB } from './collector.js';

const unchecked = hex(`
  4857 81 00 0102 0000 03040506 001fffffffffffff 00000003 7d27e91e  # Stdout, the largest offset
  616263
`);
const checked = hex(`
  4857 81 03 0102 1c90 03040506 0008090a0b0c0d0e 00000003 8a663a51  # Stdout, FIN and CHECKED
  616263
`);
const ping = hex('4857 05 02 0000 679c 00000000 0000000000000007 00000000 065cd9a4');
const uncheckedPing = hex('4857 05 00 0000 0000 00000000 0000000000000007 00000000 dcb82029');

const decoded = {
  unchecked: {
    type: 0x81,
    flags: 0,
    lane: 0x0102,
    channel: 0x03040506,
    offset: Number.MAX_SAFE_INTEGER,
    payload: Buffer.from('abc'),
  },
  checked: {
    type: 0x81,
    flags: FIN | CHECKED,
    lane: 0x0102,
    channel: 0x03040506,
    offset: 0x0008090a0b0c0d0e,
    payload: Buffer.from('abc'),
  },
  ping: { type: 5, flags: CHECKED, lane: 0, channel: 0, offset: 7, payload: Buffer.alloc(0) },
};

t.test('every field of a header is read, and written', (t) => {
  const all = new Collector({}).feed(Buffer.concat([unchecked, checked, ping]));
  t.strictSame(all.frames, [decoded.unchecked, decoded.checked, decoded.ping]);
  t.strictSame(all.skips, []);
  t.strictSame(
    [decoded.unchecked, decoded.checked, decoded.ping].map((fields) => encodeFrame(fields)),
    [unchecked, checked, ping],
  );
  t.strictSame(frame({ ...decoded.checked }), checked, 'as the test itself writes it');
  t.end();
});

t.test('an offset that no number holds exactly is one that nobody accepts', (t) => {
  const { frames } = new Collector({}).feed(
    hex('4857 05 00 0000 0000 00000000 0020000000000000 00000000 e80473ee'),
  );
  t.equal(frames[0]?.offset, Number.POSITIVE_INFINITY);
  t.end();
});

t.test('the field that only CHECKED frames have is not looked at in others', (t) => {
  const bytes = frame({ type: 5, offset: 7 });
  t.strictSame(bytes, uncheckedPing);
  bytes.writeUInt16BE(0xbeef, 6);
  t.equal(new Collector({}).feed(bytes).frames.length, 0, 'but the checksum covers it');
  t.end();
});

t.test('frames come out of bytes that come one at a time, or in any pieces', (t) => {
  const random = new Random(1);
  const sent = Array.from({ length: 300 }, (_, i) =>
    frame({
      type: 0x81,
      flags: i % 2 === 0 ? CHECKED : 0,
      offset: i,
      payload: random.bytes(random.below(900)),
    }),
  );
  const bytes = Buffer.concat(sent);
  const whole = new Collector({}).feed(bytes).frames;
  t.equal(whole.length, sent.length);
  for (const size of [() => 1, () => 27, () => 1 + random.below(100), () => 5000]) {
    const { frames, skips, decoder } = new Collector({ bufferBytes: 1 }).feed(bytes, size);
    t.strictSame(frames, whole);
    t.strictSame(skips, []);
    t.equal(decoder.pendingBytes, 0);
  }
  t.end();
});

t.test('a frame larger than the buffer makes it grow as its bytes come, and is then let go', (t) => {
  const payload = new Random(2).bytes(3 * MiB);
  const bytes = frame({ type: 0x83, flags: CHECKED, payload });
  const { decoder, frames, bufferBytes } = new Collector({});
  t.equal(bufferBytes, 64 * KiB);
  const all = new Collector({});
  let largest = 0;
  for (let at = 0; at < bytes.length; at += 10_000) {
    all.feed(bytes.subarray(at, at + 10_000));
    largest = Math.max(largest, all.bufferBytes);
    if (at < bytes.length - 10_000) {
      t.ok(all.bufferBytes <= Math.max(64 * KiB, 2 * (all.decoder.pendingBytes + 16 * KiB + 1)));
    }
  }
  t.ok(all.frames[0]?.payload.equals(payload));
  t.ok(largest > 3 * MiB);
  t.equal(all.bufferBytes, 64 * KiB);
  t.equal(frames.length + decoder.pendingBytes, 0);
  t.end();
});

t.test('a declared length alone takes no memory', (t) => {
  const header = frame({ type: 0x83, payload: Buffer.alloc(4 * MiB) }).subarray(0, 28);
  const all = new Collector({}).feed(header);
  t.equal(all.decoder.pendingBytes, 28);
  t.equal(all.bufferBytes, 64 * KiB);
  t.end();
});

t.test('what is coming in is known by its lane', (t) => {
  const bytes = frame({ type: 0x83, lane: 5, payload: Buffer.alloc(1000) });
  const all = new Collector({}).feed(bytes.subarray(0, 27));
  t.equal(all.decoder.incompleteLane, undefined, 'a header that is not complete says nothing');
  all.feed(bytes.subarray(27, 500));
  t.equal(all.decoder.incompleteLane, 5);
  all.feed(bytes.subarray(500));
  t.equal(all.decoder.incompleteLane, undefined);
  t.end();
});

t.test('noise before, between and behind frames is skipped and counted', (t) => {
  const boot = Buffer.from('[    0.000000] Linux version 6.1.0 HHWHW\r\n');
  const all = new Collector({}).feed(Buffer.concat([boot, checked, boot, ping, boot, boot]));
  t.strictSame(all.frames, [decoded.checked, decoded.ping]);
  t.equal(all.skippedBytes + all.decoder.pendingBytes, 4 * boot.length);
  t.ok(all.decoder.pendingBytes < 28);
  t.equal(all.skips[0]?.reason, 'magic');
  t.end();
});

t.test('a truncated header costs nothing but itself', (t) => {
  for (let length = 1; length < 28; length++) {
    const all = new Collector({}).feed(Buffer.concat([ping.subarray(0, length), checked, ping]));
    t.strictSame(all.frames, [decoded.checked, decoded.ping], `${length} bytes of a header`);
    t.equal(all.skippedBytes, length);
  }
  t.end();
});

t.test('a truncated payload costs what it takes to fill it, and no more', (t) => {
  const long = frame({ type: 0x81, flags: CHECKED, payload: Buffer.alloc(100, 0x2e) });
  const all = new Collector({}).feed(Buffer.concat([long.subarray(0, 28 + 60), ping, ping, checked, ping]));
  // 40 bytes were missing: one Ping and 12 bytes of the next.
  t.strictSame(all.frames, [decoded.checked, decoded.ping]);
  t.strictSame(
    all.skips.map(({ bytes }) => bytes),
    [128 + 16],
  );
  t.equal(all.skips[0]?.reason, 'payload_crc');
  t.end();
});

t.test('a length above the limit is no header, and nothing is waited for', (t) => {
  const oversize = frame({ type: 0x81, flags: CHECKED, payload: Buffer.alloc(2001) });
  const all = new Collector({ frameBytesMax: 2000 }).feed(Buffer.concat([oversize.subarray(0, 28), ping]));
  t.strictSame(all.frames, [decoded.ping]);
  t.strictSame(all.skips, [{ bytes: 28, reason: 'length' }]);
  const after = new Collector({ frameBytesMax: 2000 });
  after.decoder.setLimits({ frameBytesMax: 2001, checkedOnly: true });
  t.equal(after.feed(oversize).frames.length, 1, 'the limit can be changed');
  t.end();
});

t.test('where bytes may be corrupted, a frame that is not CHECKED is none', (t) => {
  const all = new Collector({ checkedOnly: true }).feed(Buffer.concat([uncheckedPing, ping]));
  t.strictSame(all.frames, [decoded.ping]);
  t.equal(all.skippedBytes, 28);
  t.end();
});

t.test('a corrupted length of a CHECKED frame is noticed before that many bytes were waited for', (t) => {
  const damaged = Buffer.from(checked);
  damaged[21] = 0x3f; // 4 MiB and more
  const all = new Collector({}).feed(Buffer.concat([damaged, ping]));
  t.strictSame(all.frames, [decoded.ping]);
  t.strictSame(all.skips, [{ bytes: damaged.length, reason: 'header_crc' }]);
  t.end();
});

t.test('without its check field a CHECKED frame is none', (t) => {
  // Otherwise each false header would be believed for as many bytes as it claims, and checking them
  // all would take the square of what came.
  const header = Buffer.alloc(28);
  header.set([0x48, 0x57, 0x81, CHECKED]);
  header.writeUInt32BE(3 * MiB, 20);
  const hostile = Buffer.concat([...Array.from({ length: (4 * MiB) / 28 }, () => header), ping]);
  const all = new Collector({}).feed(hostile, () => 64 * KiB);
  t.strictSame(all.frames, [decoded.ping]);
  t.equal(all.skippedBytes, hostile.length - 28);
  t.end();
});

t.test('nothing inside a damaged payload is taken for a frame', (t) => {
  const inner = Buffer.concat([ping, checked, ping]);
  const outer = frame({ type: 0x81, flags: CHECKED, payload: inner });
  for (let at = 28; at < outer.length; at++) {
    const damaged = Buffer.from(outer);
    damaged[at] = (damaged[at] as number) ^ 0x10;
    const all = new Collector({}).feed(Buffer.concat([damaged, ping]));
    t.strictSame(all.frames, [decoded.ping]);
    t.strictSame(all.skips, [{ bytes: outer.length, reason: 'payload_crc' }]);
  }
  t.end();
});

/** Many frames of many kinds, as one connection would send them. */
function conversation(flags: number): Buffer[] {
  const random = new Random(3);
  return Array.from({ length: 40 }, (_, i) =>
    frame({
      type: random.pick([0x02, 0x05, 0x07, 0x08, 0x20, 0x23, 0x80, 0x81]),
      flags: flags | (i % 7 === 0 ? FIN : 0),
      lane: random.below(3),
      channel: random.below(100),
      offset: random.below(2 ** 31),
      payload: random.bytes(random.pick([0, 0, 1, 9, 40, 120])),
    }),
  );
}

t.test('any one flipped bit of a CHECKED conversation costs exactly the frame that it is in', (t) => {
  const frames = conversation(CHECKED);
  const bytes = Buffer.concat([...frames, ping]);
  const undamaged = new Collector({}).feed(bytes).frames;
  t.equal(undamaged.length, 41);
  let wrong = 0;
  frames.forEach((damaged, i) => {
    const start = frames.slice(0, i).reduce((sum, { length }) => sum + length, 0);
    const expected = JSON.stringify(undamaged.filter((_, j) => j !== i));
    for (let bit = 0; bit < damaged.length * 8; bit++) {
      const at = start + (bit >> 3);
      bytes[at] = (bytes[at] as number) ^ (1 << (bit & 7));
      const all = new Collector({ bufferBytes: 1 }).feed(bytes);
      bytes[at] ^= 1 << (bit & 7);
      if (all.skippedBytes !== damaged.length || JSON.stringify(all.frames) !== expected) wrong++;
    }
  });
  t.equal(wrong, 0);
  t.end();
});

t.test(
  'any one flipped bit of a conversation that is not CHECKED costs its frame, or is in a payload',
  (t) => {
    const frames = conversation(0);
    const bytes = Buffer.concat([...frames, uncheckedPing]);
    const undamaged = new Collector({}).feed(bytes).frames;
    let wrong = 0;
    frames.forEach((damaged, i) => {
      const start = frames.slice(0, i).reduce((sum, { length }) => sum + length, 0);
      const expected = JSON.stringify(undamaged.filter((_, j) => j !== i));
      for (let bit = 0; bit < damaged.length * 8; bit++) {
        const at = start + (bit >> 3);
        bytes[at] = (bytes[at] as number) ^ (1 << (bit & 7));
        const all = new Collector({ bufferBytes: 1 }).feed(bytes);
        if (bit < 28 * 8) {
          if (all.skippedBytes !== damaged.length || JSON.stringify(all.frames) !== expected) wrong++;
        } else if (
          all.skippedBytes !== 0 ||
          !all.frames[i]?.payload.equals(bytes.subarray(start + 28, start + damaged.length))
        ) {
          wrong++;
        }
        bytes[at] ^= 1 << (bit & 7);
      }
    });
    t.equal(wrong, 0);
    t.end();
  },
);

t.test('frames are found in a megabyte of random bytes', (t) => {
  const random = new Random(4);
  const pieces: Buffer[] = [];
  const sent: Buffer[] = [];
  for (let bytes = 0; bytes < MiB; ) {
    const noise = random.bytes(random.below(20_000));
    const good = frame({
      type: 0x81,
      flags: CHECKED,
      offset: sent.length,
      payload: random.bytes(random.below(2000)),
    });
    pieces.push(noise, good);
    sent.push(good);
    bytes += noise.length + good.length;
  }
  const bytes = Buffer.concat(pieces);
  const all = new Collector({}).feed(bytes, () => 1 + random.below(9000));
  t.strictSame(
    all.frames.map(({ offset }) => offset),
    sent.map((_, i) => i),
  );
  t.equal(all.skippedBytes, bytes.length - Buffer.concat(sent).length);
  t.equal(all.bufferBytes, 64 * KiB);
  t.end();
});

t.test('random bytes of all kinds of lengths and magic never throw, and hold little memory', (t) => {
  const random = new Random(5);
  for (const checkedOnly of [false, true]) {
    const all = new Collector({ checkedOnly, frameBytesMax: 64 * KiB });
    for (let i = 0; i < 20_000; i++) {
      const bytes = random.bytes(random.below(60));
      // Half of it looks like the beginning of a header.
      if (random.below(2) === 0) bytes.set([0x48, 0x57].slice(0, bytes.length));
      if (random.below(4) === 0 && bytes.length > 24) bytes.writeUInt32BE(random.below(100_000), 20);
      all.feed(bytes);
      if (all.decoder.pendingBytes > 64 * KiB + 28) t.fail('too much is pending');
    }
    t.equal(all.frames.length, 0);
    t.ok(all.bufferBytes <= 256 * KiB);
  }
  t.end();
});

t.test('a million frames of one byte', (t) => {
  let count = 0;
  const counting = new Collector({
    keep: ({ offset, payload }) => {
      if (offset !== count % 1000 || payload[0] !== count % 256) t.fail('a frame is wrong');
      count++;
      counting.frames.length = 0;
      return true;
    },
  });
  // The pattern comes round every 32,000 frames.
  const bytes = Buffer.concat(
    Array.from({ length: 32_000 }, (_, i) =>
      frame({ type: 0x81, offset: i % 1000, payload: Buffer.of(i % 256) }),
    ),
  );
  const size = (): number => 64 * KiB;
  for (let i = 0; i < 31; i++) counting.feed(bytes, size);
  counting.feed(bytes.subarray(0, 8_000 * 29), size);
  t.equal(count, 1_000_000);
  t.equal(counting.skippedBytes, 0);
  t.equal(counting.bufferBytes, 64 * KiB);
  t.end();
});

t.test('a payload that somebody keeps is never written to again', (t) => {
  const random = new Random(6);
  const kept: { view: Uint8Array; copy: Buffer }[] = [];
  const all = new Collector({
    bufferBytes: 32 * KiB,
    keep: ({ payload }) => {
      if (random.below(3) > 0) return true;
      kept.push({ view: payload, copy: Buffer.from(payload) });
      return false;
    },
  });
  const bytes = Buffer.concat(
    Array.from({ length: 3000 }, (_, i) =>
      frame({
        type: 0x81,
        offset: i,
        payload: random.bytes(random.pick([0, 1, 100, 3000, 70_000 * (i % 100 === 0 ? 1 : 0)])),
      }),
    ),
  );
  all.feed(bytes, () => 1 + random.below(30_000));
  t.equal(all.frames.length, 3000);
  t.ok(kept.length > 500);
  t.equal(kept.filter(({ view, copy }) => !copy.equals(view)).length, 0);
  t.end();
});

t.test('chunks that were read elsewhere are copied in', (t) => {
  const all = new Collector({});
  const bytes = Buffer.concat([checked, frame({ type: 0x83, payload: Buffer.alloc(200 * KiB, 1) }), ping]);
  all.decoder.push(bytes);
  t.strictSame(
    all.frames.map(({ type }) => type),
    [0x81, 0x83, 0x05],
  );
  t.end();
});
