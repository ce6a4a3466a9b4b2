import { decode, encode } from '@msgpack/msgpack';
import t from 'tap';
import { CHECKED, frame, hex, Random } from '../wire.js';
import { AgentEnd, HostEnd } from './ends.js';
import { Cable, HandClock, TestLine, turn } from './test-line.js';

const READY = 1;
const HELLO = 2;
const WELCOME = 3;
const REJECT = 4;
const PING = 5;
const PONG = 6;

/** A greeting made by hand. */
function greeting(type: number, body: unknown, lane = 0): Buffer {
  return frame({ type, lane, flags: CHECKED, payload: encode(body) });
}

const hello = {
  generations: [1],
  connectionKey: Buffer.alloc(16, 0x11),
  hostVersion: 'x',
  windowBytes: 1000,
  frameBytesMax: 65_536,
};

const welcome = {
  generation: 1,
  connectionKey: Buffer.alloc(16, 0xaa),
  agentVersion: 'x',
  bootId: 'b',
  bootEpoch: 0,
  windowBytes: 1000,
  frameBytesMax: 65_536,
  checked: false,
  features: [],
};

/** An agent on a line whose other end is the test. */
async function agentAlone(options: ConstructorParameters<typeof AgentEnd>[1] = {}): Promise<AgentEnd> {
  const agent = new AgentEnd(new TestLine(), options).start();
  await turn();
  agent.line.take();
  return agent;
}

async function answersTo(agent: AgentEnd, bytes: Uint8Array): Promise<{ type: number; body: unknown }[]> {
  agent.line.deliver(bytes);
  await turn();
  return agent.line.takeFrames().map(({ type, payload }) => ({ type, body: decode(payload) }));
}

t.test('a host and an agent find each other, whoever is there first', async (t) => {
  for (const first of ['host', 'agent'] as const) {
    const cable = new Cable();
    const host = new HostEnd(cable.host);
    const agent = new AgentEnd(cable.agent);
    if (first === 'host') {
      host.start();
      // Nobody reads that yet: it is lost.
      await turn();
      cable.host.take();
      agent.start();
    } else {
      agent.start();
      await turn();
      cable.agent.take();
      host.start();
    }
    await cable.settle();
    t.ok(host.connected, `${first} first`);
    t.match(host.welcome, {
      generation: 1,
      agentVersion: '1.2.3',
      bootId: 'boot',
      bootEpoch: 4,
      features: ['exec'],
    });
    t.match(agent.hellos[0], { hostVersion: '3.2.1', wallClockUs: 1_700_000_000_000_000 });
    t.match(agent.connection.agreement, {
      generation: 1,
      sendWindowBytes: host.limits.windowBytes,
      receiveWindowBytes: agent.limits.stdinWindowBytes,
      checked: false,
    });
    t.match(host.connection.agreement, {
      sendWindowBytes: agent.limits.stdinWindowBytes,
      receiveWindowBytes: host.limits.windowBytes,
    });
  }
});

t.test('a line full of noise before, between and behind the greetings does not matter', async (t) => {
  const random = new Random(1);
  for (const mayCorrupt of [false, true]) {
    const cable = new Cable({ mayCorrupt });
    const noise = (bytes: Buffer): Buffer =>
      Buffer.concat([
        Buffer.from('[ 0.0] boot\r\n'),
        random.bytes(random.below(300)),
        bytes,
        random.bytes(200),
      ]);
    cable.toAgent = noise;
    cable.toHost = noise;
    cable.size = () => 1 + random.below(50);
    const host = new HostEnd(cable.host).start();
    const agent = new AgentEnd(cable.agent).start();
    await cable.settle();
    t.ok(host.connected);
    t.equal(host.connection.agreement.checked, mayCorrupt);
    t.ok(agent.skips.length > 0);
    t.equal(agent.port.counters.skips, agent.skips.length);
    t.ok(agent.port.counters.skippedBytes > 200);
  }
});

t.test('a Hello that is lost is said again, at a growing interval, until the time is up', async (t) => {
  const clock = new HandClock();
  const host = new HostEnd(new TestLine(), { clock }).start();
  const at: number[] = [];
  const start = clock.now();
  while (host.failure === undefined) {
    await turn();
    for (const { type } of host.line.takeFrames()) if (type === HELLO) at.push(clock.now() - start);
    clock.advance(100);
  }
  t.strictSame(at.slice(0, 6), [0, 200, 600, 1400, 3000, 6000]);
  t.equal(host.failure.code, 'handshake_timeout');
  t.match(host.failure.message, 'handshakeTimeoutMs 30000');
  t.ok(clock.now() - start <= 33_000);
  t.equal(clock.timerCount, 0);
});

t.test('a line that should lose nothing is filled up when silence says that it has', async (t) => {
  const forAnother = greeting(WELCOME, { ...welcome, connectionKey: Buffer.alloc(16, 0xbb) });
  // What a guest's kernel prints while it boots comes from no agent.
  for (const said of [Buffer.alloc(0), Buffer.from('login: '), forAnother]) {
    const heard = said === forAnother;
    const clock = new HandClock();
    const host = new HostEnd(new TestLine(), { clock }).start();
    if (said.length > 0) host.line.deliver(said);
    const zeros: number[] = [];
    while (zeros.length < 8) {
      await turn();
      const at = Buffer.from(host.line.take()).indexOf('HW');
      if (at >= 0) zeros.push(at / 1024);
      clock.advance(100);
    }
    const more = heard ? [40, 160, 640, 1024] : [0, 0, 0, 0];
    t.strictSame(zeros, [0, 0, 6, 6, ...more], heard ? 'somebody is there' : 'nobody may be there yet');
    host.line.fail();
  }
});

t.test('the same Hello again gets a Welcome again and is the same connection', async (t) => {
  const agent = await agentAlone();
  const first = await answersTo(agent, greeting(HELLO, hello));
  const connection = agent.connection;
  const again = await answersTo(agent, Buffer.concat([greeting(HELLO, hello), greeting(HELLO, hello)]));
  t.match(first, [{ type: WELCOME }]);
  t.match(again, [{ type: WELCOME }, { type: WELCOME }]);
  t.strictSame(
    (again[0] as { body: object }).body,
    { ...(first[0] as { body: object }).body, resume: { received: 0, streams: [] } },
    'which says where it goes on',
  );
  t.equal(agent.connection, connection);
  t.equal(agent.hellos.length, 1);
});

t.test('a Welcome that comes twice, or for another key, changes nothing', async (t) => {
  const host = new HostEnd(new TestLine()).start();
  host.line.deliver(greeting(WELCOME, { ...welcome, connectionKey: Buffer.alloc(16, 0xbb) }));
  t.notOk(host.connected, 'it is for the one who held the line before');
  host.line.deliver(greeting(WELCOME, welcome));
  const { connection } = host;
  host.line.deliver(greeting(WELCOME, welcome));
  t.equal(host.connection, connection);
});

t.test('a Reject that is meant for another host is none', (t) => {
  const host = new HostEnd(new TestLine()).start();
  const reject = { code: 'rejected', message: 'no' };
  host.line.deliver(greeting(REJECT, { ...reject, connectionKey: Buffer.alloc(16, 0xbb) }));
  t.equal(host.failure, undefined);
  host.line.deliver(greeting(REJECT, { ...reject, connectionKey: Buffer.alloc(16, 0xaa) }));
  t.equal(host.failure?.code, 'rejected');
  t.end();
});

t.test('a host that hears Ready says Hello at once', async (t) => {
  const host = new HostEnd(new TestLine()).start();
  await turn();
  host.line.take();
  host.line.deliver(greeting(READY, { agentVersion: 'x', generations: [1], bootId: 'b', bootEpoch: 0 }));
  await turn();
  t.strictSame(
    host.line.takeFrames().map(({ type }) => type),
    [HELLO],
  );
});

t.test('a host is refused that speaks no generation of the agent', async (t) => {
  const agent = await agentAlone();
  t.match(await answersTo(agent, greeting(HELLO, { ...hello, generations: [2, 7] })), [
    { type: REJECT, body: { code: 'unsupported', message: 'the host offers 2, 7, the agent speaks 1' } },
  ]);
  t.match(await answersTo(agent, greeting(HELLO, { ...hello, generations: [1, 2, 7] })), [
    { type: WELCOME, body: { generation: 1 } },
  ]);
  t.equal(agent.refusals[0]?.code, 'unsupported');
});

t.test('a host hears why it was refused', async (t) => {
  const cable = new Cable();
  const host = new HostEnd(cable.host, { token: 'wrong' }).start();
  new AgentEnd(cable.agent, { token: 'right' }).start();
  await cable.settle();
  t.equal(host.failure?.code, 'rejected');
  t.match(host.failure?.message, 'the agent refused: the token');
});

t.test('a token has to be the right one, where there is one', async (t) => {
  for (const [token, given, type] of [
    ['secret', 'secret', WELCOME],
    ['secret', 'secreT', REJECT],
    ['secret', '', REJECT],
    ['secret', undefined, REJECT],
    ['secret', 'secret and more', REJECT],
    [undefined, 'unasked', WELCOME],
  ] as const) {
    const agent = await agentAlone(token === undefined ? {} : { token });
    const [answer] = await answersTo(
      agent,
      greeting(HELLO, given === undefined ? hello : { ...hello, token: given }),
    );
    t.equal(answer?.type, type, `${token} against ${given}`);
    t.notMatch(JSON.stringify(answer), 'secret', 'and the answer does not say it');
    t.equal(agent.connections.size, type === WELCOME ? 1 : 0);
  }
});

t.test('what is no Hello is refused with the reason', async (t) => {
  const agent = await agentAlone();
  const wrong: [unknown, RegExp][] = [
    [{ ...hello, connectionKey: Buffer.alloc(15) }, /connectionKey is 16 bytes/],
    [
      { ...hello, connectionKey: 'aaaaaaaaaaaaaaaa' },
      /Hello.connectionKey: expected byte string, not a string/,
    ],
    [{ ...hello, windowBytes: -1 }, /Hello.windowBytes/],
    [{ ...hello, windowBytes: 0 }, /too small/],
    [{ ...hello, frameBytesMax: 4095 }, /too small/],
    [{ generations: [1] }, /is missing/],
    [[1, 2], /Hello: expected map, not a list/],
    [7, /Hello: expected map, not 7/],
  ];
  for (const [body, message] of wrong) {
    const [answer] = await answersTo(agent, greeting(HELLO, body));
    t.match(answer, { type: REJECT, body: { message } });
  }
  t.match(await answersTo(agent, frame({ type: HELLO, flags: CHECKED, payload: hex('c1') })), [
    { type: REJECT },
  ]);
  t.equal(agent.connections.size, 0);
});

t.test('a host refuses an agent that offers less than it needs, or what it did not ask for', async (t) => {
  for (const [wrong, code] of [
    [{ generation: 2 }, 'unsupported'],
    [{ windowBytes: 0 }, 'protocol_violation'],
    [{ frameBytesMax: 0 }, 'protocol_violation'],
    [{ features: 'exec' }, 'message_invalid'],
  ] as const) {
    const host = new HostEnd(new TestLine()).start();
    host.line.deliver(greeting(WELCOME, { ...welcome, ...wrong }));
    t.equal(host.failure?.code, code);
    t.notOk(host.connected);
  }
});

t.test('an echo of its own Hello is not an agent, and no failure', async (t) => {
  const cable = new Cable();
  const clock = new HandClock();
  const host = new HostEnd(cable.host, { clock }).start();
  await turn();
  host.line.deliver(host.line.take());
  t.equal(host.failure, undefined);
  new AgentEnd(cable.agent).start();
  await cable.settle();
  t.ok(host.connected);

  const alone = new HostEnd(new TestLine(), { clock }).start();
  await turn();
  alone.line.deliver(alone.line.take());
  clock.advance(60_000);
  t.match(alone.failure, { code: 'handshake_timeout', message: /an echo of our own/ });
});

t.test('an agent hears greetings that are not for it, and does nothing', async (t) => {
  const agent = await agentAlone();
  t.strictSame(
    await answersTo(
      agent,
      Buffer.concat([greeting(READY, {}), greeting(WELCOME, welcome), greeting(REJECT, {})]),
    ),
    [],
  );
});

t.test(
  'a second host takes the lane over; the first is told nothing and its frames go nowhere',
  async (t) => {
    const agent = await agentAlone();
    await answersTo(agent, greeting(HELLO, hello));
    const [answer] = await answersTo(
      agent,
      greeting(HELLO, { ...hello, connectionKey: Buffer.alloc(16, 0x22) }),
    );
    t.match(answer, { type: WELCOME });
    t.match(agent.suspensions, [{ code: 'line_closed', message: 'another host took lane 0 of test' }]);
    t.equal(agent.connections.size, 1);
    t.strictSame(Buffer.from(agent.connection.agreement.connectionKey), Buffer.alloc(16, 0x22));
    // The first one's Hello takes it back: its connection goes on.
    const [back] = await answersTo(agent, greeting(HELLO, hello));
    t.match(back, { type: WELCOME });
    t.equal(agent.resumed, 1);
    t.equal(agent.suspensions.length, 2);
    t.equal(agent.ends.length, 0);
  },
);

t.test('a connection that has ended is a new one with the same Hello', async (t) => {
  const agent = await agentAlone();
  await answersTo(agent, greeting(HELLO, hello));
  const first = agent.connection;
  first.close();
  await turn();
  agent.line.take();
  await answersTo(agent, greeting(HELLO, hello));
  t.not(agent.connection, first);
});

t.test('each lane is a connection of its own', async (t) => {
  const agent = await agentAlone();
  for (const lane of [0, 3, 255]) {
    t.match(
      await answersTo(agent, greeting(HELLO, { ...hello, connectionKey: Buffer.alloc(16, lane) }, lane)),
      [{ type: WELCOME, body: { connectionKey: Buffer.alloc(16, lane) } }],
    );
  }
  t.strictSame([...agent.connections.keys()], [0, 3, 255]);
  agent.line.deliver(frame({ type: PING, lane: 3, offset: 77 }));
  agent.line.deliver(frame({ type: PING, lane: 4, offset: 78 }));
  await turn();
  t.match(agent.line.takeFrames(), [{ type: PONG, lane: 3, offset: 77n }]);
  t.equal(agent.port.counters.framesIgnored, 1);
  t.match(await answersTo(agent, greeting(HELLO, hello, 256)), [
    { type: REJECT, body: { code: 'limit_exceeded' } },
  ]);
  agent.connections.get(3)?.close();
  t.strictSame([...agent.connections.keys()], [0, 255]);
});

t.test('before anybody was greeted no frame is large', async (t) => {
  const agent = await agentAlone();
  const large = frame({ type: HELLO, flags: CHECKED, payload: Buffer.alloc(512 * 1024 + 1) });
  agent.line.deliver(large);
  t.match(agent.skips[0], { reason: 'length' });
  await answersTo(agent, greeting(HELLO, hello));
  const skipped = agent.port.counters.skips;
  agent.line.deliver(frame({ type: 0x80, channel: 9, payload: Buffer.alloc(1024 * 1024) }));
  t.equal(agent.port.counters.skips, skipped, 'then it may be');
  t.match(agent.notices, [{ kind: 'stale_channel', channel: 9 }]);
});

t.test('half a frame that a dead host left on a serial line is filled up by the next one', async (t) => {
  const cable = new Cable({ mayCorrupt: true, dataBytesPreferred: 1152 });
  const clock = new HandClock();
  const agent = new AgentEnd(cable.agent).start();
  await turn();
  agent.line.take();
  await answersTo(agent, greeting(HELLO, hello));
  agent.line.deliver(
    frame({ type: 0x80, channel: 1, flags: CHECKED, payload: Buffer.alloc(9_000) }).subarray(0, 3000),
  );
  const host = new HostEnd(cable.host, { clock }).start();
  for (let i = 0; i < 40 && !host.connected; i++) {
    await cable.settle();
    clock.advance(100);
  }
  t.ok(host.connected);
  t.equal(agent.suspensions.length, 1);
});

t.test('an agent whose answers nobody reads keeps few of them', async (t) => {
  const agent = await agentAlone();
  let room = 100;
  agent.line.takes = (bytes) => {
    const taken = Math.min(room, bytes);
    room -= taken;
    return taken;
  };
  for (let i = 0; i < 5000; i++) {
    agent.line.deliver(greeting(HELLO, { ...hello, connectionKey: Buffer.alloc(16, i % 3) }));
    if (i % 100 === 0) await turn();
  }
  room = Number.MAX_SAFE_INTEGER;
  agent.line.unblock();
  await turn();
  t.ok(agent.line.take().length < 600 * 300);
});
