import t from 'tap';
import { MessageLog } from '../../src/connection/message-log.js';
import { ReceiveStream } from '../../src/connection/receive-stream.js';
import { SendStream } from '../../src/connection/send-stream.js';
import { defaultLimits } from '../../src/limits.js';
import { Spool, SpoolBudget } from '../../src/spool.js';
import { FIN, Random } from '../wire.js';

const owner = {
  lane: 0,
  checked: false,
  dataBytesMax: 1000,
  streamReady: (): void => {},
};

function sendStream(window: number, onRoom: () => void = () => {}): SendStream {
  const spool = new Spool(new SpoolBudget(2 ** 24), owner, 2 ** 16);
  const stream: SendStream = new SendStream(owner, {
    type: 'Stdin',
    channel: 1,
    spool,
    window,
    onConsumed: () => {
      spool.free(stream.consumedBytes);
      onRoom();
    },
    onOver: () => spool.close(),
  });
  return stream;
}

class Received {
  readonly chunks: Buffer[] = [];
  readonly gaps: [number, number][] = [];
  readonly credits: boolean[] = [];
  ends = 0;
  readonly stream: ReceiveStream;

  constructor(window: number) {
    this.stream = new ReceiveStream(this, { type: 'Stdin', channel: 1, window, sink: this });
  }

  data(bytes: Uint8Array): boolean {
    this.chunks.push(Buffer.from(bytes));
    return true;
  }

  end(): void {
    this.ends++;
  }

  gap(from: number, to: number): void {
    this.gaps.push([from, to]);
  }

  creditDue(_stream: ReceiveStream, urgent: boolean): void {
    this.credits.push(urgent);
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }

  frame(offset: number, text: string, flags: { fin?: boolean; gap?: boolean } = {}): unknown {
    return this.stream.frame(offset, Buffer.from(text), flags.fin ?? false, flags.gap ?? false);
  }
}

t.test('a sender never passes its limit, whatever credit comes in whatever order', (t) => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = new Random(seed);
    let limit = random.below(3000);
    const stream = sendStream(limit);
    let consumed = 0;
    let ended = false;
    for (let step = 0; step < 300; step++) {
      switch (random.below(4)) {
        case 0:
          if (!ended) stream.write(random.bytes(random.below(3000)));
          break;
        case 1: {
          const to = consumed + random.below(stream.sentBytes - consumed + 1);
          const granted = to + random.below(5000);
          t.ok(stream.credit(granted, to, false) || granted < to);
          consumed = to;
          limit = Math.max(limit, granted);
          break;
        }
        case 2: // one that was overtaken
          stream.credit(random.below(consumed + 1) + 10, random.below(consumed / 2 + 1), false);
          break;
        default:
          if (random.below(40) === 0) ended = true;
          if (ended) stream.end();
          while (stream.ready()) {
            const before = stream.sentBytes;
            const frame = stream.nextFrame(1 + random.below(2000));
            if (frame.offset !== before || frame.payload.length > 1000) t.fail('a frame is wrong');
            if (stream.sentBytes !== before + frame.payload.length) t.fail('positions are wrong');
            if (frame.payload.length === 0 && (frame.flags & FIN) === 0) t.fail('a frame of nothing');
          }
      }
      if (stream.sentBytes > limit) t.fail(`${stream.sentBytes} bytes were sent, the limit is ${limit}`);
    }
  }
  t.end();
});

t.test('a producer hears of room when bytes were consumed', (t) => {
  let rooms = 0;
  const stream = sendStream(2 ** 20, () => rooms++);
  t.equal(stream.write(Buffer.alloc(100_000)), 65_536);
  while (stream.ready()) stream.nextFrame(1000);
  t.equal(rooms, 0);
  stream.credit(2 ** 20, 0, false);
  t.equal(rooms, 0);
  stream.credit(2 ** 20, 30_000, false);
  t.equal(rooms, 1);
  t.equal(stream.write(Buffer.alloc(100_000)), 30_000);
  t.end();
});

t.test('an end needs no credit, is said once, and is over when all was consumed', (t) => {
  const stream = sendStream(4);
  stream.write(Buffer.from('four and more'));
  t.match(stream.nextFrame(100), { offset: 0, flags: 0 });
  stream.end();
  t.notOk(stream.ready());
  stream.credit(13, 4, false);
  t.match(stream.nextFrame(100), { offset: 4, flags: FIN });
  t.notOk(stream.ready());
  t.notOk(stream.credit(13, 12, true), 'not all of it was consumed');
  t.ok(stream.credit(13, 13, true));
  t.ok(stream.consumed);
  t.ok(stream.credit(13, 13, true), 'a repeat is harmless');
  t.equal(stream.spool.memoryBytes, 0);

  const empty = sendStream(0);
  empty.end();
  t.ok(empty.ready());
  const frame = empty.nextFrame(100);
  t.equal(frame.payload.length, 0);
  t.match(frame, { offset: 0, flags: FIN });
  t.end();
});

t.test('a sender that was given up sends nothing', (t) => {
  const stream = sendStream(1000);
  stream.write(Buffer.from('unsent'));
  stream.abandon();
  t.notOk(stream.ready());
  t.ok(stream.consumed);
  t.equal(stream.probe(), undefined);
  t.end();
});

t.test('a receiver takes bytes once and in order, and trims what it has', (t) => {
  const received = new Received(1000);
  t.equal(received.frame(0, 'abc'), true);
  t.equal(received.frame(0, 'abc'), true);
  t.equal(received.frame(1, 'bcde'), true);
  t.equal(received.frame(5, 'f', { fin: true }), true);
  t.equal(received.text, 'abcdef');
  t.equal(received.ends, 1);
  t.equal(received.frame(5, 'f', { fin: true }), true, 'an end that is said again');
  t.equal(received.ends, 1);
  t.end();
});

t.test('a receiver says what is wrong', (t) => {
  const received = new Received(10);
  t.equal(received.frame(1, 'x'), 'missing_bytes');
  t.equal(received.frame(0, 'eleven byte'), 'beyond_credit');
  t.equal(received.frame(11, ''), 'beyond_credit');
  t.equal(received.frame(Number.POSITIVE_INFINITY, ''), 'beyond_credit');
  received.frame(0, 'abcd');
  t.equal(received.frame(0, 'ab', { fin: true }), 'after_end', 'it had more before it ended');
  received.frame(4, '', { fin: true });
  t.equal(received.frame(4, 'e'), 'after_end');
  t.equal(received.frame(6, '', { gap: true }), 'after_end');
  t.equal(received.text, 'abcd');
  t.strictSame(received.gaps, []);
  t.end();
});

t.test('a gap is told, counts as received, and needs no consuming', (t) => {
  const received = new Received(100);
  received.frame(0, 'ab');
  t.equal(received.frame(10, 'kl', { gap: true }), true);
  t.strictSame(received.gaps, [[2, 10]]);
  t.equal(received.stream.receivedBytes, 12);
  received.frame(12, '', { fin: true });
  received.stream.consume(4);
  t.ok(received.stream.finished);
  t.end();
});

t.test('credit is due when half the window was consumed, and when all is over', (t) => {
  const received = new Received(100);
  received.frame(0, 'x'.repeat(100));
  received.stream.consume(49);
  t.strictSame(received.credits, []);
  received.stream.consume(1);
  t.strictSame(received.credits, [true]);
  t.equal(received.stream.takeLimit(), 150);
  received.frame(100, '', { fin: true });
  received.stream.consume(1000);
  t.equal(received.stream.consumedBytes, 100, 'no more can be consumed than came');
  t.ok(received.stream.finished);
  t.strictSame(received.credits, [true, false]);
  t.equal(received.stream.takeLimit(), 200);
  t.end();
});

t.test('a frame without bytes asks for the credit', (t) => {
  const received = new Received(100);
  received.frame(0, '');
  t.strictSame(received.credits, [true]);
  received.frame(0, '', { fin: true });
  received.frame(0, '', { fin: true });
  t.strictSame(received.credits, [true, false, true]);
  t.end();
});

t.test('messages are numbered without holes, kept until acknowledged, and taken once', (t) => {
  const log = new MessageLog({ ...defaultLimits, unackedMessagesMax: 3, unackedBytesMax: 100 });
  const frames = [1, 2, 3].map((i) => Buffer.alloc(10, i));
  for (const frame of frames) {
    t.equal(log.full(10), undefined);
    log.sent(frame);
  }
  t.equal(log.nextNumber, 4);
  t.equal(log.full(1)?.code, 'limit_exceeded');
  t.ok(log.acknowledged(2));
  t.ok(log.acknowledged(1));
  t.equal(log.oldestUnacked, frames[2]);
  t.notOk(log.acknowledged(4), 'what was never sent');
  t.equal(log.unacked.length, 1);
  t.equal(log.full(90), undefined);
  t.equal(log.full(91)?.code, 'limit_exceeded');

  t.equal(log.accept(2), 'missing');
  t.equal(log.accept(1), 'next');
  t.equal(log.ackDue, 1);
  t.equal(log.takeAck(), 1);
  t.equal(log.ackDue, 0);
  t.equal(log.accept(1), 'repeat');
  t.equal(log.accept(0), 'repeat');
  t.equal(log.ackDue, 1, 'who repeats has not heard the acknowledgement');
  t.equal(log.takeAck(), 1);
  t.equal(log.accept(3), 'missing');
  t.equal(log.accept(Number.POSITIVE_INFINITY), 'missing');
  t.equal(log.received, 1);
  t.end();
});
