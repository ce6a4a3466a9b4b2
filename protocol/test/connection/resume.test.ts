import t from 'tap';
import type { Connection } from '../../src/connection/connection.js';
import { Random } from '../wire.js';
import type { EndOptions } from './ends.js';
import { AgentEnd, HostEnd, Listener, Sink } from './ends.js';
import { Cable, HandClock } from './test-line.js';

const KiB = 1024;

/** Two ends whose cable can be torn and replaced. */
class Pair {
  readonly clock = new HandClock();
  readonly options: EndOptions & { mayCorrupt?: boolean };
  cable: Cable;
  agent: AgentEnd;
  host: HostEnd;

  constructor(options: EndOptions & { mayCorrupt?: boolean } = {}) {
    this.options = { ...options, clock: this.clock };
    this.cable = new Cable(options);
    this.agent = new AgentEnd(this.cable.agent, this.options).start();
    this.host = new HostEnd(this.cable.host, this.options).start();
  }

  /** Tears the cable, with everything in it, and plugs in a new one. */
  replace(): void {
    this.cable.host.fail();
    this.cable.agent.fail();
    this.host.greeting?.stop();
    this.agent.greeting.stop();
    this.cable = new Cable(this.options);
    this.agent = new AgentEnd(this.cable.agent, { ...this.options, before: this.agent }).start();
    const before = this.host;
    this.host = new HostEnd(this.cable.host, this.options);
    this.host.port.start();
    this.host.greet(before);
  }

  /** Lets time pass in which everything happens that is to happen. */
  async pass(ms = 3000): Promise<void> {
    for (let at = 0; at < ms; at += 100) {
      await this.cable.settle();
      this.clock.advance(100);
    }
    await this.cable.settle();
  }

  get agentConnection(): Connection {
    const [connection] = this.agent.known.values();
    if (connection === undefined) throw new Error('the agent knows no connection');
    return connection;
  }
}

t.test('what was on its way when the line was cut comes once, whichever byte was the last', async (t) => {
  const input = Buffer.from('0123456789'.repeat(20));
  const output = Buffer.from('abcdefghij'.repeat(20));
  let cutAt = 0;
  for (let whole = false; !whole; cutAt++) {
    const pair = new Pair();
    await pair.cable.settle();
    const { host } = pair;
    // Bytes of both directions are counted together; the rest of the piece and all behind it is lost.
    let left = cutAt;
    let cut = false;
    const pass = (bytes: Buffer): Buffer => {
      const part = cut ? Buffer.alloc(0) : bytes.subarray(0, left);
      left -= part.length;
      if (part.length < bytes.length) cut = true;
      return part;
    };
    pair.cable.toAgent = pass;
    pair.cable.toHost = pass;

    const heard = new Listener();
    const channel = host.connection.openChannel(1, heard);
    const sink = new Sink(channel, 'Stdout');
    const stdin = channel.openSendStream('Stdin', 64 * KiB, () => {});
    let received: Sink | undefined;
    const signals: string[] = [];
    const serve = (connection: Connection, number: number): void => {
      const session = connection.openChannel(number, {
        message: (message) => {
          signals.push((message.body as { signal: string }).signal);
          session.send('Done', { re: message.number });
        },
        closed: () => {},
      });
      received = new Sink(session, 'Stdin');
      session.send('ExecStarted', { sessionId: 's', pid: 1, startedAtUs: 1 });
      const stdout = session.openSendStream('Stdout', 64 * KiB, () => {});
      stdout.write(output);
      stdout.end();
    };
    pair.agent.onRequest = serve;
    channel.send('ExecRequest', { cmd: 'x' });
    stdin.write(input);
    stdin.end();
    await pair.cable.settle();
    channel.send('Signal', { signal: 'A' });
    channel.send('Signal', { signal: 'B' });
    await pair.cable.settle();
    whole = !cut;
    pair.replace();
    pair.agent.onRequest = serve;
    await pair.pass(500);

    const name = `cut behind byte ${cutAt}`;
    const complete =
      sink.content.equals(output) &&
      sink.ended &&
      received?.content.equals(input) === true &&
      received.ended &&
      signals.join() === 'A,B' &&
      heard.messages.map((message) => message.name).join() === 'ExecStarted,Done,Done' &&
      stdin.consumed &&
      pair.host.connected;
    if (!complete) {
      t.fail(`${name}: ${signals.join()}, ${sink.bytes} bytes out, ${received?.bytes} in`);
      return;
    }
    pair.host.connection.close();
    await pair.cable.settle();
    t.equal(host.budget.bytes + pair.agent.budget.bytes, 0);
  }
  t.ok(cutAt > 800, `${cutAt} cuts`);
});

t.test('streams go on over line after line, through noise, whole', async (t) => {
  for (let seed = 1; seed <= 25; seed++) {
    const random = new Random(seed);
    const pair = new Pair({ mayCorrupt: true });
    await pair.cable.settle();
    const spoil = (bytes: Buffer): Buffer => {
      const copy = Buffer.from(bytes);
      switch (random.below(12)) {
        case 0:
          copy[random.below(copy.length)]! ^= 1 << random.below(8);
          return copy;
        case 1:
          return copy.subarray(0, random.below(copy.length));
        case 2:
          return Buffer.concat([copy, copy.subarray(0, random.below(copy.length))]);
        case 3:
          return Buffer.concat([random.bytes(random.below(100)), copy]);
        default:
          return copy;
      }
    };
    const noisy = (): void => {
      pair.cable.toAgent = spoil;
      pair.cable.toHost = spoil;
    };
    noisy();
    const bytes = random.bytes(200 * KiB);
    const input = pair.host.connection.openChannel(1, new Listener());
    const stdin = input.openSendStream('Stdin', 512 * KiB, () => {});
    const sink = new Sink(pair.agentConnection.openChannel(1, new Listener()), 'Stdin');
    stdin.write(bytes);
    stdin.end();
    for (let round = 0; round < 400 && !stdin.consumed; round++) {
      await pair.pass(200);
      if (random.below(6) === 0) {
        pair.replace();
        noisy();
      }
    }
    t.ok(stdin.consumed, `seed ${seed} comes to its end`);
    t.ok(sink.ended && sink.content.equals(bytes), `seed ${seed} is whole`);
    t.strictSame([...pair.host.ends, ...pair.agent.ends], []);
  }
});

t.test('an agent that does not know the connection says so', async (t) => {
  const pair = new Pair();
  await pair.cable.settle();
  pair.agent.known.clear();
  pair.replace();
  await pair.pass(500);
  t.match(pair.host.failure, { code: 'connection_lost', message: /resumeGraceMs 60000/ });
});

t.test('positions that cannot be are refused, and harm nothing', async (t) => {
  const pair = new Pair();
  await pair.cable.settle();
  const { agentConnection } = pair;
  const session = agentConnection.openChannel(1, new Listener());
  pair.host.connection.openChannel(1, new Listener());
  const stdout = session.openSendStream('Stdout', 64 * KiB, () => {});
  stdout.write(Buffer.alloc(100));
  session.send('ExecStarted', { sessionId: 's', pid: 1, startedAtUs: 1 });
  await pair.cable.settle();
  const at = (received: number, consumed = 0, limit = 2 ** 20, finished = false) => ({
    received: 1,
    streams: [{ channel: 1, typeId: 0x81, received, consumed, limit, finished }],
  });
  t.equal(agentConnection.impossible(at(100)), undefined);
  t.equal(agentConnection.impossible(at(0)), undefined);
  t.match(agentConnection.impossible(at(101)), { code: 'protocol_violation', message: /byte 101/ });
  t.match(agentConnection.impossible(at(50, 60)), { code: 'protocol_violation' });
  t.match(agentConnection.impossible(at(100, 100, 99)), { code: 'protocol_violation' });
  t.match(agentConnection.impossible(at(100, 100, 2 ** 20, true)), { code: 'protocol_violation' });
  t.match(agentConnection.impossible({ received: 2, streams: [] }), { message: /cannot be at message 2/ });
});

t.test('bytes that were dropped before they were sent make a gap, and cost no credit', async (t) => {
  const pair = new Pair({ limits: { windowBytes: 10 * KiB } });
  await pair.cable.settle();
  const session = pair.agentConnection.openChannel(1, new Listener());
  const spool = pair.agentConnection.newSpool(64 * KiB);
  const stdout = session.openReader('Stdout', spool, { onConsumed: () => {}, onOver: () => spool.close() });
  const sink = new Sink(pair.host.connection.openChannel(1, new Listener()), 'Stdout', false);
  stdout.write(Buffer.alloc(30 * KiB, 1));
  await pair.cable.settle();
  t.equal(sink.bytes, 10 * KiB);
  spool.free(30 * KiB);
  stdout.write(Buffer.alloc(KiB, 2));
  await pair.cable.settle();
  t.strictSame(sink.gaps, [[10 * KiB, 30 * KiB]]);
  sink.consumes = true;
  sink.stream.consume(10 * KiB);
  pair.replace();
  await pair.pass(500);
  stdout.end();
  await pair.pass(500);
  t.equal(sink.bytes, 11 * KiB);
  t.strictSame(sink.gaps, [[10 * KiB, 30 * KiB]], 'and is told once');
  t.ok(sink.ended);
});
