import { decode, encode } from '@msgpack/msgpack';
import t from 'tap';
import type { Connection } from '../../src/connection/connection.js';
import type { WireFrame } from '../wire.js';
import { FIN, frame, hex, Random } from '../wire.js';
import type { EndOptions } from './ends.js';
import { AgentEnd, HostEnd, Listener, Sink } from './ends.js';
import { Cable, HandClock, TestLine, turn } from './test-line.js';

const type = {
  Ready: 0x01,
  Hello: 0x02,
  Ping: 0x05,
  Pong: 0x06,
  Ack: 0x07,
  Credit: 0x08,
  Bye: 0x09,
  ExecRequest: 0x20,
  Signal: 0x27,
  Info: 0x2a,
  Done: 0x2c,
  Failure: 0x2d,
  Stdin: 0x80,
  Stdout: 0x81,
} as const;

const MiB = 1024 * 1024;

/** Both ends of one connection, greeted. */
async function pair(
  options: {
    mayCorrupt?: boolean;
    dataBytesPreferred?: number;
    host?: EndOptions & { checked?: boolean };
    agent?: EndOptions;
  } = {},
): Promise<{ cable: Cable; host: HostEnd; agent: AgentEnd; clock: HandClock }> {
  const clock = new HandClock();
  const cable = new Cable(options);
  const agent = new AgentEnd(cable.agent, { clock, ...options.agent }).start();
  const host = new HostEnd(cable.host, { clock, ...options.host }).start();
  await cable.settle();
  return { cable, host, agent, clock };
}

/** An agent that a host, played by the test, has greeted. */
async function agentAlone(
  options: EndOptions & { mayCorrupt?: boolean; windowBytes?: number; frameBytesMax?: number } = {},
): Promise<{
  agent: AgentEnd;
  say: (fields: Parameters<typeof frame>[0]) => Promise<WireFrame[]>;
}> {
  const { mayCorrupt = false, windowBytes = 1000, frameBytesMax = 65_536 } = options;
  const agent = new AgentEnd(new TestLine({ mayCorrupt }), options).start();
  const hello = {
    generations: [1],
    connectionKey: Buffer.alloc(16),
    hostVersion: 'x',
    windowBytes,
    frameBytesMax,
  };
  const say = async (fields: Parameters<typeof frame>[0]): Promise<WireFrame[]> => {
    agent.line.deliver(frame(mayCorrupt ? { ...fields, flags: (fields.flags ?? 0) | 2 } : fields));
    await turn();
    return agent.line.takeFrames();
  };
  await say({ type: type.Hello, flags: 2, payload: encode(hello) });
  return { agent, say };
}

const request = { cmd: 'true' };

function codeOf(frames: WireFrame[]): unknown {
  const bye = frames.find((other) => other.type === type.Bye);
  return bye && (decode(bye.payload) as { code?: string }).code;
}

t.test('messages arrive in order, once, and are acknowledged', async (t) => {
  const { cable, host, agent, clock } = await pair();
  cable.size = () => 1;
  for (let i = 1; i <= 100; i++) t.equal(host.connection.send(0, 'Signal', { signal: `S${i}` }), i);
  await cable.settle();
  t.strictSame(
    agent.requests.map(({ message }) => [message.number, (message.body as { signal: string }).signal]),
    Array.from({ length: 100 }, (_, i) => [i + 1, `S${i + 1}`]),
  );
  clock.advance(100);
  await cable.settle();
  t.equal(host.port.counters.framesOut, agent.port.counters.framesIn);
});

t.test(
  'an acknowledgement is sent at once after many messages, a little later after few, and with whatever leaves',
  async (t) => {
    const clock = new HandClock();
    const { agent, say } = await agentAlone({ clock });
    let number = 0;
    const signal = (): Parameters<typeof frame>[0] => ({
      type: type.Signal,
      offset: ++number,
      payload: encode({ signal: 'X' }),
    });
    t.strictSame(await say(signal()), []);
    clock.advance(24);
    await turn();
    t.strictSame(agent.line.takeFrames(), []);
    clock.advance(1);
    await turn();
    t.match(agent.line.takeFrames(), [{ type: type.Ack, offset: 1n, channel: 0 }]);
    while (number < 64) t.strictSame(await say(signal()), []);
    t.match(await say(signal()), [{ type: type.Ack, offset: 65n }]);
    await say(signal());
    t.match(await say({ type: type.Ping, offset: 9 }), [
      { type: type.Pong, offset: 9n },
      { type: type.Ack, offset: 66n },
    ]);
  },
);

t.test(
  'a message goes behind what is owed, since what was consumed counts for what it asks, and before data',
  async (t) => {
    const { agent, say } = await agentAlone();
    const channel = agent.connection.openChannel(1, new Listener());
    const input = new Sink(channel, 'Stdin');
    const output = channel.openSendStream('Stdout', 4096, () => {});
    t.strictSame(await say({ type: type.Stdin, channel: 1, flags: FIN, payload: Buffer.from('all') }), []);
    t.ok(input.ended);
    t.strictSame(await say({ type: type.Signal, offset: 1, payload: encode({ signal: 'X' }) }), []);
    output.write(Buffer.from('data'));
    channel.send('Done', { re: 1 });
    t.match(await say({ type: type.Ping, offset: 9 }), [
      { type: type.Pong, offset: 9n },
      { type: type.Credit, channel: 1, flags: FIN },
      { type: type.Ack, offset: 1n },
      { type: type.Done, channel: 1 },
      { type: type.Stdout, channel: 1 },
    ]);
  },
);

t.test(
  'of many in one turn who cannot wait, the first goes at once, the others a few at a time',
  async (t) => {
    const { agent } = await agentAlone();
    const left = Array.from({ length: 20 }, () => {
      agent.connection.send(0, 'Done', { re: 1 });
      agent.connection.flush();
      return agent.line.takeFrames().length;
    });
    t.strictSame(left, [1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0]);
    await turn();
    t.equal(agent.line.takeFrames().length, 3);
    agent.connection.send(0, 'Done', { re: 1 });
    agent.connection.flush();
    t.equal(agent.line.takeFrames().length, 1, 'in the next turn again');
  },
);

t.test('a message that comes again is acknowledged again and not handed over', async (t) => {
  const clock = new HandClock();
  const { agent, say } = await agentAlone({ clock });
  const message = { type: type.Signal, offset: 1, payload: encode({ signal: 'X' }) };
  await say(message);
  clock.advance(25);
  await turn();
  agent.line.takeFrames();
  await say(message);
  clock.advance(25);
  await turn();
  t.match(agent.line.takeFrames(), [{ type: type.Ack, offset: 1n }]);
  t.equal(agent.requests.length, 1);
});

t.test('a lost message makes the ends greet each other again, and comes then', async (t) => {
  const { cable, host, agent } = await pair();
  const resumed = agent.resumed;
  host.connection.send(0, 'Signal', { signal: 'A' });
  await turn();
  cable.host.take(); // lost
  host.connection.send(0, 'Signal', { signal: 'B' });
  await cable.settle();
  t.match(agent.doubts, [{ code: 'line_corrupt', message: 'message 1 was lost: Signal 2 came instead' }]);
  t.match(
    agent.requests.map(({ message }) => message),
    [
      { number: 1, body: { signal: 'A' } },
      { number: 2, body: { signal: 'B' } },
    ],
  );
  t.equal(agent.resumed, resumed + 1);
  t.ok(host.connected);
  t.strictSame([...host.ends, ...agent.ends], []);
});

t.test('lost data make the ends greet each other again, and come then', async (t) => {
  const { cable, host, agent, clock } = await pair();
  const sink = new Sink(agent.connection.openChannel(1, new Listener()), 'Stdin');
  const stream = host.connection.openChannel(1, new Listener()).openSendStream('Stdin', 4096, () => {});
  stream.write(Buffer.from('lost'));
  await turn();
  cable.host.take();
  stream.write(Buffer.from(' late'));
  stream.end();
  await cable.settle();
  t.match(agent.doubts, [{ code: 'line_corrupt', message: /bytes from 0 on were lost: 5 bytes at 4/ }]);
  t.equal(sink.content.toString(), 'lost late');
  t.ok(sink.ended);
  clock.advance(25);
  await cable.settle();
  t.ok(stream.consumed);
});

t.test('on a line that loses things, what was lost last is asked for', async (t) => {
  for (const what of ['request', 'data', 'end', 'credit', 'last credit', 'acknowledgement'] as const) {
    const { cable, host, agent, clock } = await pair({ mayCorrupt: true });
    const listener = new Listener();
    const sink = new Sink(agent.connection.openChannel(1, listener), 'Stdin', false);
    const channel = host.connection.openChannel(1, new Listener());
    const stream = channel.openSendStream('Stdin', 65_536, () => {});
    const lose = async (): Promise<void> => {
      await turn();
      const lost = cable.host.take().length + cable.agent.take().length;
      t.ok(lost > 0);
    };
    if (what === 'request') {
      channel.send('Signal', { signal: 'X' });
      await lose();
    } else if (what === 'acknowledgement') {
      channel.send('Signal', { signal: 'X' });
      await cable.settle();
      clock.advance(25);
      await lose();
    } else {
      stream.write(Buffer.alloc(40_000, 1));
      if (what !== 'data') await cable.settle();
      else await lose();
      if (what === 'end') {
        sink.stream.consume(sink.bytes);
        await cable.settle();
        stream.end();
        await lose();
      } else if (what === 'credit') {
        sink.consumes = true;
        sink.stream.consume(sink.bytes);
        await lose();
      } else if (what === 'last credit') {
        sink.consumes = true;
        sink.stream.consume(sink.bytes);
        stream.end();
        await cable.settle();
        cable.toHost = () => Buffer.alloc(0);
        clock.advance(25);
        await cable.settle();
        cable.toHost = (bytes) => bytes;
      }
    }
    for (let i = 0; i < 4; i++) {
      clock.advance(host.limits.probeIntervalMs);
      await cable.settle();
    }
    if (what === 'request') t.equal(listener.messages.length, 1, 'a request is sent again');
    else if (what === 'data') t.equal(sink.bytes, 32_768, 'as much as there is credit for');
    else if (what === 'end') t.ok(sink.ended, 'an end is said again');
    else if (what === 'credit') t.equal(sink.bytes, 40_000, 'credit is given again');
    else if (what === 'last credit') t.ok(stream.consumed);
    t.strictSame(agent.ends, [], what);
    sink.consumes = true;
    sink.stream.consume(sink.bytes - sink.stream.consumedBytes);
    for (let i = 0; i < 4; i++) {
      clock.advance(host.limits.probeIntervalMs);
      await cable.settle();
    }
    const framesOut = host.port.counters.framesOut;
    for (let i = 0; i < 10; i++) {
      clock.advance(host.limits.probeIntervalMs);
      await cable.settle();
    }
    t.equal(host.port.counters.framesOut, framesOut, 'and then nothing is asked for any more');
  }
});

t.test(
  'the end of a stream on a channel that is gone is answered, so that its sender can forget it',
  async (t) => {
    const { say } = await agentAlone();
    const end = { type: type.Stdin, flags: FIN, channel: 7, offset: 100, payload: Buffer.alloc(20) };
    t.strictSame(
      await say(end),
      [],
      'not where its request was never heard of: that was lost, and comes again',
    );
    await say({ type: type.ExecRequest, channel: 7, offset: 1, payload: encode({ cmd: 'x' }) });
    t.match(await say({ type: type.Stdin, flags: FIN, channel: 7, offset: 100, payload: Buffer.alloc(20) }), [
      { type: type.Credit, flags: FIN, channel: 7, offset: 120n, payload: hex('80 0000000000000078') },
    ]);
    t.strictSame(await say({ type: type.Stdin, channel: 7, offset: 100, payload: Buffer.alloc(20) }), []);
  },
);

t.test('a stream is carried whole, whatever the line does with its bytes', async (t) => {
  const random = new Random(1);
  const content = random.bytes(3 * MiB);
  const takes = {
    everything: (bytes: number): number => bytes,
    'one byte at a time': () => 1,
    'short writes': () => random.below(3000),
    'nothing, now and then': (bytes: number) => (random.below(3) === 0 ? 0 : bytes),
  };
  for (const [name, policy] of Object.entries(takes)) {
    const slow = name === 'one byte at a time';
    const bytes = slow ? content.subarray(0, 3000) : content;
    for (const mayCorrupt of [false, true]) {
      const { cable, host, agent } = await pair({ mayCorrupt });
      cable.host.takes = policy;
      cable.agent.takes = policy;
      cable.size = () => 1 + random.below(slow ? 1 : 50_000);
      const sink = new Sink(agent.connection.openChannel(1, new Listener()), 'Stdin');
      let sent = 0;
      const stream = host.connection
        .openChannel(1, new Listener())
        .openSendStream('Stdin', 64 * 1024, () => fill());
      const fill = (): void => {
        sent += stream.write(bytes.subarray(sent));
        if (sent === bytes.length) stream.end();
      };
      fill();
      for (let i = 0; i < 20_000 && !stream.consumed; i++) {
        await cable.settle();
        host.clock.advance(25);
      }
      t.ok(sink.ended && stream.consumed, name);
      t.ok(sink.content.equals(bytes));
      t.equal(host.budget.bytes, 0);
    }
  }
});

t.test('a million bytes, one in each frame', async (t) => {
  const { cable, host, agent } = await pair({ agent: { limits: { stdinWindowBytes: 100_000 } } });
  const sink = new Sink(agent.connection.openChannel(1, new Listener()), 'Stdin');
  Object.defineProperty(cable.host, 'dataBytesPreferred', { value: 1 });
  let sent = 0;
  const stream = host.connection.openChannel(1, new Listener()).openSendStream('Stdin', MiB, () => fill());
  const fill = (): void => void (sent += stream.write(Buffer.alloc(1_000_000 - sent, 7)));
  fill();
  await cable.settle();
  t.equal(sink.bytes, 1_000_000);
  t.equal(sink.chunks.length, 1_000_000);
});

t.test('no more is sent than there is credit, and the rest when there is more', async (t) => {
  const { agent, say } = await agentAlone({ windowBytes: 1000 });
  const stream = agent.connection.openChannel(1, new Listener()).openSendStream('Stdout', 65_536, () => {});
  stream.write(Buffer.alloc(4000, 1));
  stream.end();
  const sentBy = (frames: WireFrame[]): [bigint, number, number][] =>
    frames.map(({ offset, payload, flags }) => [offset, payload.length, flags]);
  await turn();
  t.strictSame(sentBy(agent.line.takeFrames()), [[0n, 1000, 0]]);
  const credit = (limit: number, consumed: number, flags = 0): Promise<WireFrame[]> => {
    const payload = Buffer.alloc(9);
    payload[0] = type.Stdout;
    payload.writeBigUInt64BE(BigInt(consumed), 1);
    return say({ type: type.Credit, channel: 1, offset: limit, payload, flags });
  };
  t.strictSame(sentBy(await credit(1500, 500)), [[1000n, 500, 0]]);
  t.strictSame(await credit(1500, 500), [], 'a repeat changes nothing');
  t.strictSame(await credit(1200, 200), [], 'nor does one that was overtaken');
  t.strictSame(sentBy(await credit(9000, 1000)), [[1500n, 2500, FIN]]);
  t.notOk(stream.consumed);
  await credit(9000, 4000, FIN);
  t.ok(stream.consumed);
  t.equal(agent.budget.bytes, 0);
});

t.test('credit that makes no sense is a violation', async (t) => {
  for (const [limit, consumed, flags, payload] of [
    [1000, 101, 0, undefined], // consumed what was never sent
    [50, 100, 0, undefined], // a limit below what was consumed
    [1000, 100, FIN, undefined], // finished what has not ended
    [1000, 0, 0, Buffer.from([type.Stdout])], // no position
  ] as const) {
    const { agent, say } = await agentAlone();
    const stream = agent.connection.openChannel(1, new Listener()).openSendStream('Stdout', 65_536, () => {});
    stream.write(Buffer.alloc(100));
    await turn();
    const whole = Buffer.concat([Buffer.of(type.Stdout), hex(consumed.toString(16).padStart(16, '0'))]);
    const answer = await say({
      type: type.Credit,
      channel: 1,
      offset: limit,
      flags,
      payload: payload ?? whole,
    });
    t.equal(codeOf(answer), 'protocol_violation');
    t.match(agent.ends, [{ error: { code: 'protocol_violation' } }]);
  }
  const { agent, say } = await agentAlone();
  await say({ type: type.Credit, channel: 99, payload: Buffer.alloc(9) });
  t.strictSame(agent.ends, [], 'credit for a channel that is gone is none');
});

t.test('more data than there was credit for is a violation', async (t) => {
  const { agent, say } = await agentAlone({ limits: { stdinWindowBytes: 1000 } });
  const listener = new Listener();
  const sink = new Sink(agent.connection.openChannel(1, listener), 'Stdin', false);
  await say({ type: type.Stdin, channel: 1, payload: Buffer.alloc(1000) });
  t.equal(sink.bytes, 1000);
  const answer = await say({ type: type.Stdin, channel: 1, offset: 1000, payload: Buffer.alloc(1) });
  t.equal(codeOf(answer), 'protocol_violation');
  t.match(listener.ended, { code: 'protocol_violation', message: /exceed the credit/ });
  t.equal(agent.connections.size, 0);
});

t.test('a signal overtakes megabytes that wait to be sent', async (t) => {
  const { cable, host } = await pair({
    agent: { limits: { stdinWindowBytes: 64 * MiB } },
    host: { budgetBytes: 64 * MiB },
  });
  const channel = host.connection.openChannel(1, new Listener());
  const stream = channel.openSendStream('Stdin', 16 * MiB, () => {});
  stream.write(Buffer.alloc(16 * MiB));
  // The line takes one buffer's worth and is full.
  let room = 200_000;
  cable.host.takes = (bytes) => {
    const taken = Math.min(room, bytes);
    room -= taken;
    return taken;
  };
  await turn();
  channel.send('Signal', { signal: 'SIGTERM' });
  await turn();
  room = Number.MAX_SAFE_INTEGER;
  cable.host.unblock();
  const frames = cable.host.takeFrames();
  const at = frames.findIndex((other) => other.type === type.Signal);
  const bytesBefore = frames.slice(0, at).reduce((sum, { payload }) => sum + payload.length, 0);
  t.ok(at > 0 && at <= 5, `the signal is frame ${at}`);
  t.ok(bytesBefore <= 200_000 + 65_536, 'behind what the line had, and the frame that it had begun');
  t.ok(frames.length > 200);
});

t.test('streams take turns, frame by frame', async (t) => {
  const { agent } = await agentAlone({ windowBytes: 64 * MiB });
  const streams = [1, 2, 3].map((number) => {
    const channel = agent.connection.openChannel(number, new Listener());
    return channel.openSendStream('Stdout', MiB, () => {});
  });
  for (const stream of streams) stream.write(Buffer.alloc(MiB));
  const late = agent.connection.openChannel(4, new Listener()).openSendStream('Stdout', 4096, () => {});
  late.write(Buffer.from('little'));
  await turn();
  const order = agent.line.takeFrames().map(({ channel }) => channel);
  t.strictSame(order.slice(0, 4), [1, 2, 3, 4]);
  t.strictSame(
    order.slice(4),
    Array.from({ length: order.length - 4 }, (_, i) => 1 + (i % 3)),
  );
});

t.test('lanes take turns as well, with messages and with data', async (t) => {
  const agent = new AgentEnd(new TestLine()).start();
  for (const lane of [0, 1]) {
    const hello = {
      generations: [1],
      connectionKey: Buffer.alloc(16, lane),
      hostVersion: 'x',
      windowBytes: MiB,
      frameBytesMax: 65_536,
    };
    agent.line.deliver(frame({ type: type.Hello, lane, flags: 2, payload: encode(hello) }));
  }
  await turn();
  agent.line.takeFrames();
  for (const connection of agent.connections.values()) {
    const channel = connection.openChannel(1, new Listener());
    channel.openSendStream('Stdout', MiB, () => {}).write(Buffer.alloc(MiB / 2));
    for (let i = 0; i < 4; i++) channel.send('Done', { re: i });
  }
  await turn();
  const frames = agent.line.takeFrames();
  t.strictSame(
    frames.slice(0, 8).map((other) => other.type),
    Array.from({ length: 8 }, () => type.Done),
    'messages first',
  );
  for (const lane of [0, 1]) {
    const own = frames.slice(8, 14).filter((other) => other.lane === lane);
    t.equal(own.length, 3, `lane ${lane} has its share`);
  }
});

t.test('a stream that nobody reads holds up no other, and no message', async (t) => {
  const { cable, host, agent } = await pair();
  const stuck = new Sink(agent.connection.openChannel(1, new Listener()), 'Stdin', false);
  const free = new Sink(agent.connection.openChannel(2, new Listener()), 'Stdin');
  const channels = [1, 2].map((number) => host.connection.openChannel(number, new Listener()));
  const [blocked, moving] = channels.map((channel) => channel.openSendStream('Stdin', MiB, () => {}));
  blocked?.write(Buffer.alloc(MiB));
  await cable.settle();
  for (let i = 0; i < 10; i++) {
    moving?.write(Buffer.alloc(100_000));
    await cable.settle();
  }
  channels[0]?.send('Signal', { signal: 'SIGTERM' });
  await cable.settle();
  t.equal(free.bytes, 1_000_000);
  t.equal(stuck.bytes, agent.limits.stdinWindowBytes);
  t.ok(await ping(host.connection, cable));
});

async function ping(connection: Connection, cable: Cable): Promise<boolean> {
  const answered = connection.ping();
  await cable.settle();
  return (await answered) >= 0;
}

t.test('a receiver may widen its window, and what it granted stays granted', async (t) => {
  const { agent, say } = await agentAlone({ limits: { stdinWindowBytes: 1000 } });
  const sink = new Sink(agent.connection.openChannel(1, new Listener()), 'Stdin');
  sink.stream.widen(4000);
  sink.stream.widen(10);
  t.match(await say({ type: type.Stdin, channel: 1, payload: Buffer.alloc(600) }), [
    { type: type.Credit, channel: 1, offset: 4600n, payload: hex('80 0000000000000258') },
  ]);
  t.strictSame(
    await say({ type: type.Stdin, channel: 1, offset: 600, payload: Buffer.alloc(600) }),
    [],
    'half the window is left',
  );
});

t.test('a peer that answers is kept, one that does not is given up', async (t) => {
  const { cable, host, agent, clock } = await pair();
  for (let i = 0; i < 100; i++) {
    clock.advance(5000);
    await cable.settle();
  }
  t.ok(host.connected);
  t.equal(agent.connections.size, 1);
  cable.toHost = () => Buffer.alloc(0);
  let waited = 0;
  while (host.connected && waited < 200_000) {
    clock.advance(1000);
    waited += 1000;
    await cable.settle();
  }
  t.match(host.suspensions, [{ code: 'heartbeat_lost', message: /heartbeatTimeoutMs 20000/ }]);
  t.ok(waited >= 20_000 && waited <= 30_000, `after ${waited} ms`);
  t.strictSame(host.ends, [], 'on this line: on another it may go on');
});

t.test('whoever was stopped itself for a while does not give the other up', async (t) => {
  const { cable, host, clock } = await pair();
  // One late tick, as after SIGSTOP or a restore: only one interval without a sign is counted.
  const now = clock.now();
  Object.defineProperty(clock, 'now', { value: () => now + 3_600_000 });
  clock.advance(host.limits.heartbeatIntervalMs);
  t.ok(host.connected);
  await cable.settle();
  t.ok(host.connected);
});

t.test('a large frame that is still coming in is a sign of life', async (t) => {
  const clock = new HandClock();
  const { agent } = await agentAlone({ clock });
  const large = frame({ type: type.Stdin, channel: 5, payload: Buffer.alloc(100_000) });
  for (let at = 0; at < large.length; at += 1000) {
    agent.line.deliver(large.subarray(at, at + 1000));
    clock.advance(5000);
    await turn();
  }
  t.equal(agent.connections.size, 1);
  clock.advance(100_000);
  t.match(agent.suspensions, [{ code: 'heartbeat_lost' }]);
});

t.test('a goodbye comes behind everything that was said before it', async (t) => {
  const { cable, host, agent } = await pair();
  const answered = t.rejects(host.connection.ping(), { code: 'connection_closed' });
  const listener = new Listener();
  host.connection.openChannel(1, listener);
  for (let i = 0; i < 5; i++) agent.connection.send(1, 'Done', { re: i });
  agent.connection.close();
  await cable.settle();
  await answered;
  t.equal(listener.messages.length, 5);
  t.match(listener.ended, { code: 'connection_closed', message: 'the other side closed the connection' });
  t.notOk(host.connected);
  t.equal(host.clock.timerCount, 0);
});

t.test('what cannot be sent is refused to who wants to send it', async (t) => {
  const { host } = await pair({ host: { limits: { unackedMessagesMax: 10, channelsMax: 3 } } });
  const { connection } = host;
  t.throws(() => connection.send(1, 'ExecRequest', { cmd: 'x'.repeat(5 * MiB) }), {
    code: 'frame_too_large',
    message: /ExecRequest of \d+ bytes exceeds frameBytesMax 4194304/,
  });
  for (let i = 0; i < 10; i++) connection.send(1, 'Info', {});
  t.throws(() => connection.send(1, 'Info', {}), {
    code: 'limit_exceeded',
    message: /unackedMessagesMax 10/,
  });
  for (const number of [1, 2, 5]) connection.openChannel(number, new Listener());
  t.throws(() => connection.openChannel(6, new Listener()), {
    code: 'limit_exceeded',
    message: /channelsMax 3/,
  });
  connection.close();
  t.throws(() => connection.send(1, 'Info', {}), { code: 'connection_closed' });
  t.throws(() => connection.openChannel(7, new Listener()), { code: 'connection_closed' });
  await t.rejects(connection.ping(), { code: 'connection_closed' });
});

t.test('the bytes of messages that wait for acknowledgement are limited too', async (t) => {
  const { cable, host, clock } = await pair({ host: { limits: { unackedBytesMax: 10_000 } } });
  const large = { cmd: 'x'.repeat(6000) };
  host.connection.send(1, 'ExecRequest', large);
  t.throws(() => host.connection.send(2, 'ExecRequest', large), { code: 'limit_exceeded' });
  await cable.settle();
  clock.advance(25);
  await cable.settle();
  t.equal(host.connection.send(2, 'ExecRequest', large), 2, 'a refused message had no number');
});

t.test('a channel number is used once', async (t) => {
  const { host } = await pair();
  host.connection.openChannel(5, new Listener()).release();
  t.throws(() => host.connection.openChannel(5, new Listener()), { code: 'invalid_argument' });
  t.throws(() => host.connection.openChannel(3, new Listener()), { code: 'invalid_argument' });
  host.connection.openChannel(6, new Listener());
  t.equal(host.connection.channelCount, 1);
});

t.test('an answer that the other side cannot take becomes one that it can', async (t) => {
  const { agent, say } = await agentAlone({ frameBytesMax: 4096 });
  agent.onRequest = (connection, channel, { number }) => {
    connection.send(channel, 'ExecFailed', { code: 'not_found', message: 'ä'.repeat(100_000) });
    connection.send(channel, 'RlimitsReply', {
      re: number,
      rlimits: Array.from({ length: 1000 }, () => ({ resource: 'nofile', soft: 1, hard: 2 })),
    });
  };
  const answers = (
    await say({ type: type.ExecRequest, channel: 1, offset: 1, payload: encode(request) })
  ).slice(1);
  const [failed, reply] = answers.map(
    ({ payload }) => decode(payload) as { code: string; message: string; re?: number },
  );
  t.equal(failed?.code, 'not_found');
  t.equal(failed?.message.length, 513);
  t.match(reply, {
    re: 1,
    code: 'frame_too_large',
    message: /RlimitsReply of \d+ bytes exceeds frameBytesMax 4096/,
  });
});

t.test(
  'a peer that asks without end and acknowledges nothing loses its connection, and nothing throws',
  async (t) => {
    const { agent, say } = await agentAlone({ limits: { unackedMessagesMax: 100 } });
    agent.onRequest = (connection, channel, { number }) =>
      void connection.send(channel, 'Done', { re: number });
    for (let i = 1; i <= 200; i++) {
      await say({
        type: type.Signal,
        channel: 1,
        offset: i,
        payload: encode(i % 2 === 0 ? { signal: 'X' } : { signal: 7 }),
      });
    }
    t.match(agent.ends, [{ error: { code: 'limit_exceeded' } }]);
  },
);

t.test('a message of an unknown type is answered with unsupported', async (t) => {
  const { agent, say } = await agentAlone();
  const answers = await say({ type: 0x7f, channel: 3, offset: 1, payload: Buffer.from('anything') });
  t.match(answers, [
    { type: type.Ack, offset: 1n },
    { type: type.Failure, channel: 3, offset: 1n },
  ]);
  t.match(decode(answers[1]!.payload), {
    re: 1,
    code: 'unsupported',
    message: /0x7f is not known to generation 1/,
  });
  t.match(agent.notices, [{ kind: 'unknown_type', type: 0x7f }]);
  t.strictSame(await say({ type: 0x1f, offset: 99 }), [], 'an unknown link frame is ignored');
  t.strictSame(await say({ type: 0xff, channel: 3, offset: 99 }), [], 'and unknown data');
  t.match(agent.connections.size, 1);
  t.match(await say({ type: 0x7f, channel: 3, offset: 3 }), [{ type: type.Ready }]);
  t.match(agent.doubts, [{ message: /message 2 was lost/ }], 'its number counts');
});

t.test('a message that is not as it should be is answered with what is wrong', async (t) => {
  const { agent, say } = await agentAlone();
  const refused = async (
    offset: number,
    payload: Uint8Array,
    kind: number = type.ExecRequest,
  ): Promise<unknown> => {
    const answers = await say({ type: kind, channel: 1, offset, payload });
    return answers.filter((other) => other.type === type.Failure).map((other) => decode(other.payload));
  };
  t.match(await refused(1, encode({ cmd: 7 })), [
    { re: 1, code: 'message_invalid', message: /ExecRequest.cmd: expected .*, not 7/ },
  ]);
  t.match(await refused(2, hex('81a163d9')), [
    { re: 2, code: 'message_invalid', message: /ExecRequest is not MessagePack/ },
  ]);
  t.match(await refused(3, encode({ cmd: 'x', env: 'SECRET=1' })), [
    { message: 'ExecRequest.env: expected list, not a string' },
  ]);
  t.strictSame(await refused(4, hex('c1'), type.Failure), [], 'but not a Failure: that would never end');
  t.equal(agent.requests.length, 0);
  t.equal(agent.connections.size, 1);
  const [large] = (await refused(
    5,
    encode({ cmd: 'x', ['k'.repeat(60_000)]: 1, tty: 'y'.repeat(5000) }),
  )) as { message: string }[];
  t.ok((large?.message.length ?? 0) < 200);
});

t.test('Pings are answered by their number, and not without end', async (t) => {
  const { agent, say } = await agentAlone();
  t.match(await say({ type: type.Ping, offset: 0x1f_ffff_ffff_ffffn }), [
    { type: type.Pong, offset: 0x1f_ffff_ffff_ffffn },
  ]);
  agent.line.takes = () => 0;
  for (let i = 0; i < 10_000; i++) agent.line.deliver(frame({ type: type.Ping, offset: i }));
  await turn();
  agent.line.takes = (bytes) => bytes;
  agent.line.unblock();
  t.ok(agent.line.takeFrames().length < 5000);
  t.strictSame(await say({ type: type.Pong, offset: 5 }), [], 'a Pong that nobody waits for is none');
});

t.test('when the line is gone for good, everybody hears of it', async (t) => {
  const { cable, host } = await pair();
  const listener = new Listener();
  const channel = host.connection.openChannel(1, listener);
  const stream = channel.openSendStream('Stdin', MiB, () => {});
  stream.write(Buffer.alloc(MiB));
  const answered = host.connection.ping();
  cable.host.fail();
  t.match(host.suspensions, [{ code: 'line_closed', message: 'host was closed' }]);
  t.equal(listener.ended, undefined);
  t.equal(host.clock.timerCount, 1, 'the agent’s heartbeat');
  host.giveUp();
  await t.rejects(answered, { code: 'connection_lost' });
  t.equal(listener.ended?.code, 'connection_lost');
  t.ok(stream.consumed);
  t.equal(host.budget.bytes, 0);
  t.equal(host.clock.timerCount, 1, 'the agent’s heartbeat');
});
