import { encode } from '@msgpack/msgpack';
import t from 'tap';
import type { SendStream } from '../../src/connection/send-stream.js';
import { CHECKED, frame, Random } from '../wire.js';
import { AgentEnd, HostEnd, Listener, Sink } from './ends.js';
import { TestLine, turn } from './test-line.js';

const MiB = 1024 * 1024;
const hello = {
  generations: [1],
  connectionKey: Buffer.alloc(16, 1),
  hostVersion: 'x',
  windowBytes: 100_000,
  frameBytesMax: 65_536,
};
const welcome = {
  generation: 1,
  connectionKey: Buffer.alloc(16, 0xaa),
  agentVersion: 'x',
  bootId: 'b',
  bootEpoch: 0,
  windowBytes: 100_000,
  frameBytesMax: 65_536,
  checked: false,
  features: [],
};

const types = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0f].concat(
  Array.from({ length: 16 }, (_, i) => 0x20 + i),
  [0x7f, 0x80, 0x81, 0x82, 0x83, 0x84, 0xff],
);

/** Payloads that make sense somewhere. */
const bodies: unknown[] = [
  hello,
  { ...hello, connectionKey: Buffer.alloc(16, 2) },
  welcome,
  { code: 'x', message: 'y' },
  {},
  { cmd: 'true' },
  { cmd: Buffer.alloc(5000), args: ['a'], tty: { rows: 1, cols: 1 } },
  { signal: 'TERM', target: 'leader' },
  { rows: 2, cols: 3 },
  { re: 1 },
  { re: 1, code: 'x', message: 'y', rlimits: [] },
  { sessionId: 's', pid: 1, startedAtUs: 1 },
  { stdout: { bytes: 1, dropped: 0 }, stderr: { bytes: 1, dropped: 0 } },
  { bytes: 3, errno: 'EPIPE' },
  'no map',
  [[[[]]]],
];

/** Frames that look right, with what is in them mostly wrong. */
class Nonsense {
  readonly #random: Random;
  #number = 0;
  #channel = 0;

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  next(): Buffer {
    const random = this.#random;
    // What ends a connection is rarer than what may go on.
    const type =
      random.below(5) === 0
        ? random.pick(types)
        : random.pick([0x05, 0x20, 0x20, 0x26, 0x27, 0x2c, 0x7f, 0x80]);
    const lane = random.below(20) > 0 ? 0 : random.pick([1, 255, 256, 65_535]);
    const message = type >= 0x20 && type < 0x80 && lane === 0;
    // Most numbers continue where the last left off, so that the connection goes on for a while.
    const offset =
      message && random.below(50) > 0
        ? ++this.#number
        : random.below(5) > 0
          ? 0
          : random.pick([1, 2, random.below(2000), 2 ** 31, 2 ** 53 - 1, 2n ** 53n, 2n ** 64n - 1n]);
    return frame({
      type,
      flags: random.pick([0, 0, 0, 1, CHECKED, CHECKED | 1, 4, 5, 0xff]),
      lane,
      channel:
        type === 0x20 ? ++this.#channel : random.pick([0, 1, 2, this.#channel, this.#channel, 4_294_967_295]),
      offset,
      payload: this.#payload(type),
    });
  }

  /** Its messages are counted from 1 again: a new connection. */
  restart(): void {
    this.#number = 0;
    this.#channel = 0;
  }

  #payload(type: number): Uint8Array {
    const random = this.#random;
    if (type >= 0x80 || random.below(10) === 0) return random.bytes(random.pick([0, 1, 100, 3000]));
    if (type === 0x20 && random.below(2) === 0) return encode({ cmd: 'true' });
    if (type === 0x08) {
      const credit = random.bytes(9);
      credit[0] = random.pick([0x80, 0x81, 0x82]);
      credit.fill(0, 1, random.pick([1, 7, 8, 9]));
      return credit.subarray(0, random.pick([9, 9, 9, 8, 0]));
    }
    return encode(random.pick(bodies));
  }
}

/** What an agent does with requests, as far as the protocol sees it. */
function behaveLikeAnAgent(agent: AgentEnd): void {
  agent.onRequest = (connection, number, message) => {
    if (message.name !== 'ExecRequest') {
      connection.send(number, 'Failure', { re: message.number, code: 'unsupported', message: 'x' });
      return;
    }
    try {
      const channel = connection.openChannel(number, {
        message: ({ number: re }) => void channel.send('Done', { re }),
        closed: () => {},
      });
      new Sink(channel, 'Stdin').stream.widen(200_000);
      channel.send('ExecStarted', { sessionId: 's', pid: 1, startedAtUs: 1 });
      channel.openSendStream('Stderr', 65_536, () => {}).end();
      const stdout: SendStream = channel.openSendStream('Stdout', 65_536, () => {
        stdout.write(Buffer.alloc(10_000));
        if (stdout.sentBytes > 200_000) stdout.end();
        if (stdout.consumed) channel.release();
      });
      stdout.write(Buffer.alloc(100_000));
    } catch (error) {
      connection.send(number, 'ExecFailed', { code: 'limit_exceeded', message: (error as Error).message });
    }
  };
}

t.test('an agent takes whatever a host sends, and goes on', async (t) => {
  let connections = 0;
  let requests = 0;
  for (let seed = 1; seed <= 40; seed++) {
    const random = new Random(seed);
    const nonsense = new Nonsense(seed);
    const agent = new AgentEnd(new TestLine({ mayCorrupt: false }), { budgetBytes: MiB }).start();
    behaveLikeAnAgent(agent);
    for (let i = 0; i < 500; i++) {
      if (agent.connections.get(0)?.connected !== true) {
        nonsense.restart();
        agent.giveUp();
        agent.line.deliver(
          frame({
            type: 2,
            flags: CHECKED,
            payload: encode({ ...hello, connectionKey: Buffer.alloc(16, i % 256) }),
          }),
        );
      }
      const bytes = nonsense.next();
      if (random.below(100) === 0) bytes[random.below(bytes.length)]! ^= 0x20;
      agent.line.deliver(bytes, () => 1 + random.below(4000));
      if (random.below(10) === 0) await turn();
      if (random.below(20) === 0) agent.clock.advance(5000);
      if (agent.budget.bytes > 2 * MiB) t.fail('too much memory');
    }
    await turn();
    agent.line.takeFrames(); // whole ones
    connections += agent.hellos.length;
    requests += agent.requests.length;
    agent.line.fail();
    agent.giveUp();
    t.equal(agent.budget.bytes, 0);
    t.equal(agent.connections.size, 0);
    t.equal(agent.clock.timerCount, 0);
  }
  t.ok(connections > 300 && requests > 2000, `${connections} connections, ${requests} requests`);
});

t.test('a host takes whatever an agent sends, and goes on', async (t) => {
  for (let seed = 1; seed <= 40; seed++) {
    const random = new Random(seed);
    const nonsense = new Nonsense(seed + 1000);
    for (let round = 0; round < 10; round++) {
      const host = new HostEnd(new TestLine()).start();
      if (random.below(3) > 0)
        host.line.deliver(frame({ type: 3, flags: CHECKED, payload: encode(welcome) }));
      nonsense.restart();
      if (host.connected) {
        const channel = host.connection.openChannel(1, new Listener());
        const sink = new Sink(channel, 'Stdout', random.below(2) === 0);
        t.equal(sink.stream.window, host.limits.windowBytes);
        channel.openSendStream('Stdin', 65_536, () => {}).write(Buffer.alloc(65_536));
        channel.send('ExecRequest', { cmd: 'x' });
      }
      for (let i = 0; i < 60; i++) {
        host.line.deliver(nonsense.next(), () => 1 + random.below(4000));
        if (random.below(10) === 0) await turn();
        if (random.below(20) === 0) host.clock.advance(5000);
      }
      await turn();
      host.line.takeFrames();
      host.line.fail();
      host.giveUp();
      t.equal(host.budget.bytes, 0);
    }
  }
});

t.test('who does not read what it asks for makes nothing pile up', async (t) => {
  const agent = new AgentEnd(new TestLine(), {
    budgetBytes: MiB,
    limits: { unackedMessagesMax: 1000, unackedBytesMax: MiB },
  }).start();
  behaveLikeAnAgent(agent);
  await turn();
  agent.line.take();
  agent.line.takes = () => 0;
  const nonsense = new Nonsense(7);
  for (let i = 0; i < 100_000; i++) {
    if (agent.connections.get(0)?.connected !== true) {
      agent.giveUp();
      nonsense.restart();
      agent.line.deliver(
        frame({
          type: 2,
          flags: CHECKED,
          payload: encode({ ...hello, connectionKey: Buffer.alloc(16, i % 251) }),
        }),
      );
    }
    agent.line.deliver(nonsense.next());
    if (i % 1000 === 0) await turn();
  }
  agent.line.takes = (bytes) => bytes;
  agent.line.unblock();
  await turn();
  // What had piled up leaves now: greetings, one connection’s messages and links, its credit’s worth of data.
  t.ok(agent.line.take().length < 4 * MiB);
  t.ok(agent.budget.bytes <= 2 * MiB);
});
