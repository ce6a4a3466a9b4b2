import { defaultLimits, type Limits, MessageCodec } from '@hawser/protocol';
import t from 'tap';
import type { RelayEvent } from '../../host-client/src/relay/relay.js';
import { Relay } from '../../host-client/src/relay/relay.js';
import { HandClock, TestLine } from '../../protocol/test/connection/test-line.js';
import { CHECKED, frame, hex } from '../../protocol/test/wire.js';

const codec = new MessageCodec(defaultLimits);
const [ready, hello, welcome, reject, ping, pong, ack, bye] = [1, 2, 3, 4, 5, 6, 7, 9];
const [execRequest, signal, stdin, stdout] = [0x20, 0x27, 0x80, 0x81];

/** A relay with its line and clients in the test's hands. */
class World {
  readonly clock = new HandClock();
  readonly events: RelayEvent[] = [];
  readonly relay: Relay;
  line: TestLine;
  linesLost = 0;

  constructor(options: { limits?: Partial<Limits>; mayCorrupt?: boolean; dataBytesPreferred?: number } = {}) {
    this.relay = new Relay({
      name: 'test',
      limits: { ...defaultLimits, ...options.limits },
      codec,
      clock: this.clock,
      event: (event) => this.events.push(event),
      lineClosed: () => this.linesLost++,
    });
    this.line = new TestLine(options);
    this.relay.open(this.line);
  }

  join(): TestLine {
    const client = new TestLine();
    this.relay.accept(client);
    return client;
  }

  /** A client that the agent has welcomed; the greetings are gone from the lines. */
  greeted(lane: number): TestLine {
    const client = this.join();
    client.deliver(frame({ type: hello, flags: CHECKED }));
    this.line.deliver(frame({ type: welcome, flags: CHECKED, lane }));
    client.take();
    this.line.take();
    return client;
  }
}

t.test(
  'a frame comes out on the other side with its lane changed, its checksums right, and nothing else',
  (t) => {
    const world = new World();
    const client = world.greeted(1);
    // ping-checked and stdout-checked of PROTOCOL.md, and the second unchecked.
    client.deliver(hex('4857 05 02 0000 679c 00000000 0000000000000007 00000000 065cd9a4'));
    t.same(world.line.take(), frame({ type: ping, flags: CHECKED, lane: 1, offset: 7 }));
    world.line.deliver(
      frame({ type: stdout, flags: CHECKED, lane: 1, channel: 1, payload: Buffer.from('hi\n') }),
    );
    t.same(client.take(), hex('4857 81 02 0000 98c6 00000001 0000000000000000 00000003 35f66322 68690a'));
    world.line.deliver(frame({ type: stdout, flags: 0x85, lane: 1, channel: 9, offset: 2n ** 53n - 1n }));
    t.same(client.take(), frame({ type: stdout, flags: 0x85, channel: 9, offset: 2n ** 53n - 1n }));
    const large = Buffer.alloc(300_000, 'large ');
    client.deliver(frame({ type: stdin, channel: 1, payload: large }));
    t.same(world.line.take(), frame({ type: stdin, lane: 1, channel: 1, payload: large }));
    world.line.deliver(
      frame({ type: 0x7e, lane: 1, offset: 3, payload: Buffer.from('of a later generation') }),
    );
    t.same(client.take(), frame({ type: 0x7e, offset: 3, payload: Buffer.from('of a later generation') }));
    t.end();
  },
);

t.test('towards a line that may corrupt every frame is CHECKED, whatever the client sends', (t) => {
  const world = new World({ mayCorrupt: true });
  const client = world.greeted(1);
  const payload = Buffer.alloc(2_000, 'x');
  client.deliver(Buffer.concat([frame({ type: stdin, payload }), frame({ type: ack, offset: 2 })]));
  t.same(
    world.line.take(),
    Buffer.concat([
      frame({ type: ack, flags: CHECKED, lane: 1, offset: 2 }),
      frame({ type: stdin, flags: CHECKED, lane: 1, payload }),
    ]),
    'and an acknowledgement does not wait behind data',
  );
  t.end();
});

t.test('clients send in turn, by urgency; a goodbye comes last', (t) => {
  const world = new World();
  const [a, b] = [world.greeted(1), world.greeted(2)];
  // The line takes nothing; what is written next is decided when it does.
  world.line.takes = () => 0;
  a.deliver(frame({ type: ack, offset: 99 }));
  world.line.take();
  const data = (n: number) => frame({ type: stdin, channel: n });
  for (let n = 1; n <= 3; n++) a.deliver(data(n));
  a.deliver(frame({ type: bye }));
  a.deliver(frame({ type: execRequest, offset: 1 }));
  for (let n = 1; n <= 2; n++) b.deliver(data(n));
  b.deliver(Buffer.concat([frame({ type: signal, offset: 1 }), frame({ type: ping, offset: 1 })]));
  world.line.takes = (bytes) => bytes;
  world.line.unblock();
  t.same(
    world.line.takeFrames().map(({ type, lane, channel }) => [type, lane, channel]),
    [
      [ack, 1, 0],
      [ping, 2, 0],
      [execRequest, 1, 0],
      [signal, 2, 0],
      [stdin, 1, 1],
      [stdin, 2, 1],
      [stdin, 1, 2],
      [stdin, 2, 2],
      [stdin, 1, 3],
      [bye, 1, 0],
    ],
  );
  t.end();
});

t.test('before it was welcomed a client gets greetings only, and nothing else of it is passed on', (t) => {
  const world = new World();
  const client = world.join();
  // Of whoever had the lane before.
  world.line.deliver(frame({ type: stdout, lane: 1, payload: Buffer.from('not yours') }));
  client.deliver(frame({ type: execRequest, offset: 1 }));
  t.same([client.take(), world.line.take()], [Buffer.alloc(0), Buffer.alloc(0)]);
  client.deliver(frame({ type: hello, flags: CHECKED, payload: Buffer.from('h') }));
  t.same(world.line.take(), frame({ type: hello, flags: CHECKED, lane: 1, payload: Buffer.from('h') }));
  world.line.deliver(
    Buffer.concat([
      frame({ type: pong, lane: 1 }),
      frame({ type: welcome, flags: CHECKED, lane: 1 }),
      frame({ type: stdout, lane: 1 }),
    ]),
  );
  t.same(client.take(), Buffer.concat([frame({ type: welcome, flags: CHECKED }), frame({ type: stdout })]));
  t.end();
});

t.test('Ready goes to every client on lane 0, and to one on its own', (t) => {
  const world = new World();
  const clients = [world.greeted(1), world.join()];
  world.line.deliver(frame({ type: ready, flags: CHECKED }));
  for (const client of clients) t.same(client.take(), frame({ type: ready, flags: CHECKED }));
  world.line.deliver(frame({ type: ready, flags: CHECKED, lane: 2 }));
  t.same(
    clients.map((client) => client.take().length > 0),
    [false, true],
  );
  world.line.deliver(frame({ type: stdout, payload: Buffer.from('lane 0 is nobody’s') }));
  t.same(
    clients.map((client) => client.take().length),
    [0, 0],
  );
  t.end();
});

t.test('a client that takes nothing is cut off at its limit, and no other notices', (t) => {
  const world = new World({ limits: { relayClientBytesMax: 100_000 } });
  const [slow, quick] = [world.greeted(1), world.greeted(2)];
  slow.takes = () => 0;
  const payload = Buffer.alloc(9_000);
  for (let n = 1; !slow.closed; n++) {
    for (const lane of [1, 2]) world.line.deliver(frame({ type: stdout, lane, offset: n * 9_000, payload }));
    t.same(
      quick.takeFrames().map(({ offset }) => offset),
      [BigInt(n * 9_000)],
    );
    if (n > 12) throw new Error('it was not cut off');
  }
  t.match(world.events.at(-2), { kind: 'cut_off', lane: 1 });
  t.match(world.events.at(-1), { kind: 'left', lane: 1 });
  world.line.deliver(frame({ type: stdout, lane: 1, payload }));
  t.equal(world.relay.clientCount, 1);
  t.end();
});

t.test('all together have a limit too: the one that most waits for goes', (t) => {
  const world = new World({ limits: { relayBytesMax: 100_000 } });
  const clients = [1, 2, 3].map((lane) => world.greeted(lane));
  for (const client of clients) client.takes = () => 0;
  const payload = Buffer.alloc(9_000);
  for (let n = 0; n < 8; n++) world.line.deliver(frame({ type: stdout, lane: 2, payload }));
  for (let n = 0; n < 4; n++)
    for (const lane of [1, 3]) world.line.deliver(frame({ type: stdout, lane, payload }));
  t.same(
    clients.map(({ closed }) => closed),
    [false, true, false],
  );
  t.end();
});

t.test('a client that sends more than the line takes waits, and is read again', (t) => {
  const world = new World({ limits: { relayQueueBytesMax: 50_000 } });
  const client = world.greeted(1);
  const reading: boolean[] = [];
  Object.assign(client, { setReading: (on: boolean) => reading.push(on) });
  world.line.takes = () => 0;
  for (let n = 0; n < 7; n++)
    client.deliver(frame({ type: stdin, channel: n, payload: Buffer.alloc(9_000) }));
  t.same(reading, [false]);
  world.line.takes = (bytes) => bytes;
  world.line.unblock();
  t.same(reading, [false, true]);
  t.same(
    world.line.takeFrames().map(({ channel }) => channel),
    [0, 1, 2, 3, 4, 5, 6],
  );
  t.end();
});

t.test('lost bytes of the line are noise to every client, once until something else comes', (t) => {
  const world = new World({ mayCorrupt: true });
  const client = world.greeted(1);
  world.line.deliver(Buffer.from('[    1.0] a boot message\n'));
  world.line.deliver(Buffer.from('and another\n'));
  t.same(client.take(), Buffer.from([0xff]));
  world.line.deliver(frame({ type: pong, flags: CHECKED, lane: 1 }));
  t.same(client.take(), frame({ type: pong, flags: CHECKED }));
  world.line.deliver(Buffer.alloc(40, 'noise '));
  t.same(client.take(), Buffer.from([0xff]));
  t.end();
});

t.test('a lost line is told as noise; what waited for it is not sent on the next, a Hello is', (t) => {
  const world = new World();
  const client = world.greeted(1);
  world.line.takes = () => 0;
  client.deliver(frame({ type: stdin, payload: Buffer.from('of the old line') }));
  world.line.fail();
  t.equal(world.linesLost, 1);
  t.same(client.take(), Buffer.from([0xff]), 'it hears noise, and greets again');
  client.deliver(frame({ type: stdin, payload: Buffer.from('sent before it knew') }));
  client.deliver(frame({ type: hello, flags: CHECKED, payload: Buffer.from('one') }));
  client.deliver(frame({ type: hello, flags: CHECKED, payload: Buffer.from('two') }));
  world.line = new TestLine();
  world.relay.open(world.line);
  t.same(
    world.line.takeFrames().map(({ type, lane, payload }) => [type, lane, payload.toString()]),
    [[hello, 1, 'two']],
  );
  t.end();
});

t.test('a Hello makes void what its sender had sent before it', (t) => {
  const world = new World();
  const client = world.greeted(1);
  world.line.takes = () => 0;
  client.deliver(frame({ type: ack, offset: 1 })); // of which the line takes nothing yet
  client.deliver(frame({ type: stdin, channel: 1 }));
  client.deliver(frame({ type: hello, flags: CHECKED }));
  world.line.takes = (bytes) => bytes;
  world.line.unblock();
  t.same(
    world.line.takeFrames().map(({ type }) => type),
    [ack, hello],
  );
  t.end();
});

t.test('what a client sent before it left is sent, and its lane is free only then', (t) => {
  const world = new World({ limits: { lanesMax: 3 } });
  const [a] = [world.greeted(1), world.greeted(2)];
  world.line.takes = () => 0;
  for (let n = 1; n <= 2; n++) a?.deliver(frame({ type: execRequest, offset: n }));
  a?.deliver(frame({ type: bye }));
  a?.fail();
  const refused = world.join();
  refused.deliver(frame({ type: hello, flags: CHECKED, payload: Buffer.from('not even a map') }));
  const [answer] = refused.takeFrames();
  t.equal(answer?.type, reject);
  t.match(codec.decode('Reject', answer?.payload ?? Buffer.alloc(0)), {
    code: 'limit_exceeded',
    message: /relay of test has its 2 clients/,
  });
  t.ok(refused.closed);
  world.line.takes = (bytes) => bytes;
  world.line.unblock();
  t.same(
    world.line.takeFrames().map(({ type, lane }) => [type, lane]),
    [
      [execRequest, 1],
      [execRequest, 1],
      [bye, 1],
    ],
  );
  const next = world.join();
  next.deliver(frame({ type: hello, flags: CHECKED }));
  t.match(world.line.takeFrames(), [{ type: hello, lane: 1 }]);
  t.end();
});

t.test('lanes are given in rotation', (t) => {
  const world = new World();
  for (const lane of [1, 2, 3, 4]) {
    world.join().fail();
    t.match(world.events.at(-1), { kind: 'left', lane });
  }
  t.end();
});

t.test('a repeated Hello has zeros before it until the agent has answered one', (t) => {
  const world = new World({ mayCorrupt: true });
  const client = world.join();
  const say = (): number => {
    client.deliver(frame({ type: hello, flags: CHECKED }));
    return world.line.take().length - 28;
  };
  t.equal(say(), 0, 'not before the first');
  t.equal(say(), 0, 'nor so soon');
  world.clock.advance(200);
  t.equal(say(), 6 * 1024);
  world.clock.advance(400);
  t.equal(say(), 40 * 1024);
  world.clock.advance(10_000);
  t.equal(say(), 0, 'a guest that was never heard may still boot');
  world.line.deliver(frame({ type: welcome, flags: CHECKED, lane: 1 }));
  world.clock.advance(10_000);
  t.equal(say(), 0);
  t.end();
});

t.test('a client hears that a long frame is on its way', (t) => {
  const world = new World();
  const client = world.greeted(1);
  const long = frame({ type: stdout, lane: 1, payload: Buffer.alloc(50_000) });
  for (let at = 0; at < 30_000; at += 10_000) world.line.deliver(long.subarray(at, at + 10_000));
  t.same(
    client.takeFrames().map(({ type }) => type),
    [pong],
    'once a second at most',
  );
  world.line.deliver(long.subarray(30_000));
  t.same(
    client.takeFrames().map(({ type }) => type),
    [stdout],
  );
  t.end();
});
