import { Agent, HawserError } from '@hawser/host-client';
import type { DataFrameName, Payload, PayloadName } from '@hawser/protocol';
import { FrameDecoder, MessageCodec, payloadSchemas } from '@hawser/protocol';
import { AgentEnd, Sink } from '../../protocol/test/connection/ends.js';
import { TestLine, turn } from '../../protocol/test/connection/test-line.js';
import { noUsage, welcomeOf } from '../../protocol/test/messages/samples.js';
import { CHECKED, frame, readFrames } from '../../protocol/test/wire.js';

/** Takes any bytes. @throws Error when what must never happen has happened. */
export type FuzzTarget = (input: Uint8Array) => Promise<void> | void;

const KiB = 1024;
const MiB = 1024 * KiB;

/** Reads an input as small numbers; behind its end there are zeros. */
class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  byte(): number {
    return this.#bytes[this.#at++] ?? 0;
  }

  bytes(count: number): Uint8Array {
    const part = this.#bytes.subarray(this.#at, this.#at + count);
    this.#at += count;
    return part;
  }

  /** Mostly small, sometimes at the edge of what fits. */
  offset(): bigint {
    const byte = this.byte();
    if (byte < 0xf0) return BigInt(byte) * (byte & 1 ? 1n : 37n);
    return [2n ** 32n - 1n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 64n - 1n, 65_536n, 1_048_576n][byte & 7] ?? 1n;
  }
}

/** Memory must follow the bytes that came, not the lengths that were declared. */
function fuzzDecoder(input: Uint8Array): void {
  const reader = new Reader(input);
  const flags = reader.byte();
  const pieceBytes = 1 + reader.byte() * 3;
  const rest = reader.bytes(input.length);
  let accounted = 0;
  const decoder = new FrameDecoder(
    {
      frame: ({ payload }) => {
        accounted += 28 + payload.length;
        return (flags & 2) === 0;
      },
      skipped: (bytes) => void (accounted += bytes),
    },
    { frameBytesMax: flags & 4 ? 4 * MiB : 300, checkedOnly: (flags & 1) !== 0, bufferBytes: 32 * KiB },
  );
  for (let at = 0; at < rest.length; at += pieceBytes) {
    const room = decoder.room();
    if (room.buffer.byteLength > 64 * KiB + 4 * rest.length)
      throw new Error(`a buffer of ${room.buffer.byteLength} bytes for an input of ${rest.length}`);
    decoder.push(rest.subarray(at, at + pieceBytes));
  }
  if (accounted + decoder.pendingBytes !== rest.length)
    throw new Error(`${accounted} + ${decoder.pendingBytes} bytes are accounted for, of ${rest.length}`);
}

const names = Object.keys(payloadSchemas) as PayloadName[];
const codec = new MessageCodec();
/** Encodes what need be no message at all. */
const encode = (body: unknown): Uint8Array => codec.encode('Bye', body as Payload<'Bye'>);

/** What it takes, it can send, and takes again the same. */
function fuzzCodec(input: Uint8Array): void {
  const name = names[(input[0] ?? 0) % names.length] as PayloadName;
  let decoded: ReturnType<typeof codec.decode>;
  try {
    decoded = codec.decode(name, input.subarray(1));
  } catch (error) {
    if (!(error instanceof HawserError) || error.code !== 'message_invalid') throw error;
    if (error.message.length > 2 * KiB)
      throw new Error(`an error of ${error.message.length} characters`, { cause: error });
    return;
  }
  const again = codec.decode(name, codec.encode(name, decoded));
  if (!Buffer.from(codec.encode(name, again)).equals(codec.encode(name, decoded)))
    throw new Error(`${name} changes on its way`);
}

/** The types and payloads that a command of an input may choose from. */
const types = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0f].concat(
  Array.from({ length: 18 }, (_, i) => 0x20 + i),
  [0x7f, 0x80, 0x81, 0x82, 0x83, 0xff],
  Array.from({ length: 18 }, (_, i) => 0x50 + i),
);
const count = { bytes: 5, dropped: 0 };
const exited = {
  code: 0,
  coreDumped: false,
  timedOut: false,
  rusage: noUsage,
  startedAtUs: 1,
  durationUs: 1,
  stdout: count,
  stderr: { bytes: 0, dropped: 0 },
  outputComplete: true,
};
const kept = { from: 3, start: 0, end: 9 };
const stats = { confidence: 'exact', processes: 1, cpuUserUs: 1, cpuSystemUs: 1, memoryBytes: 1 };
const record = {
  sessionId: 's',
  generation: 1,
  pid: 1,
  command: ['x'],
  labels: {},
  uid: 0,
  gid: 0,
  tty: false,
  detached: false,
  state: 'exited',
  startedAtUs: 1,
  exit: exited,
  hosts: 0,
  stdinBytes: 0,
  stdout: { ...count, start: 0 },
};
const bodies: readonly unknown[] = [
  {},
  { re: 1 },
  { re: 2, code: 'unknown_session', message: 'x' },
  { cmd: 'true' },
  { sessionId: 's', pid: 1, startedAtUs: 1 },
  exited,
  { ...exited, outputComplete: false },
  { stdout: count, stderr: count },
  { bytes: 3, errno: 'EPIPE' },
  { signal: 'TERM' },
  { rows: 2, cols: 3 },
  { re: 2, sessionId: 's', pid: 1, startedAtUs: 1, tty: false, stdout: kept, stderr: kept, stdinFrom: 7 },
  { re: 3, rlimits: [] },
  { code: 'x', message: 'y' },
  { re: 4, sessions: [record], next: 1 },
  { re: 4, sessions: [record] },
  { re: 5, session: record },
  { re: 6, atUs: 1, sessions: [{ sessionId: 's', ...stats }] },
  { re: 7, ...stats },
  { re: 8, confidence: 'exact', processes: [] },
  [],
  'no map',
];

/** Steps of a conversation with somebody who says whatever the input says. */
function* steps(reader: Reader, greeting: (attempt: number, resume: object | undefined) => Buffer) {
  let number = 0;
  while (!reader.done) {
    const op = reader.byte();
    switch (op & 7) {
      case 0:
        yield { raw: Buffer.from(reader.bytes(reader.byte())) };
        break;
      case 1:
        yield { turn: true };
        break;
      case 2:
        yield { ms: reader.byte() * 100 };
        break;
      case 3: {
        const position = [
          reader.byte() & 3,
          0x80 + (reader.byte() & 3),
          reader.byte(),
          reader.byte(),
          1_000_000,
          op >> 7,
        ];
        const resume = op & 8 ? { received: reader.byte() & 15, streams: [position] } : undefined;
        yield { raw: greeting(reader.byte(), resume) };
        break;
      }
      default: {
        const type = types[reader.byte() % types.length] as number;
        const message = type >= 0x20 && type < 0x80;
        const body = reader.byte();
        const known = encode(bodies[body % bodies.length]);
        yield {
          raw: frame({
            type,
            flags: (reader.byte() & 7) | (op & 8 ? CHECKED : 0),
            lane: op & 16 && op & 32 ? reader.byte() : 0,
            channel: reader.byte() & 7,
            offset: message && (op & 64) === 0 ? ++number : reader.offset(),
            payload: message && body < 0xe0 ? known : Buffer.from(reader.bytes(body & 63)),
          }),
        };
      }
    }
  }
}

/** An agent whose line says what it likes. */
async function fuzzAgentEnd(input: Uint8Array): Promise<void> {
  const reader = new Reader(input);
  const mayCorrupt = (reader.byte() & 1) !== 0;
  const budgetBytes = 256 * KiB;
  const agent = new AgentEnd(new TestLine({ mayCorrupt }), { budgetBytes }).start();
  agent.onRequest = (connection, number, message) => {
    if (message.name !== 'ExecRequest' && message.name !== 'Attach') return;
    try {
      const channel = connection.openChannel(number, {
        message: ({ number: re }) => void channel.send('Done', { re }),
        closed: () => {},
      });
      const sink = new Sink(channel, 'Stdin', number % 2 === 0);
      sink.stream.widen(100_000);
      channel.send('ExecStarted', { sessionId: 's', pid: 1, startedAtUs: 1 });
      for (const type of ['Stdout', 'Stderr'] as DataFrameName[]) {
        const stream = channel.openSendStream(type, 8 * KiB, () => stream.end());
        stream.write(Buffer.alloc(6 * KiB));
      }
    } catch (error) {
      if (!(error instanceof HawserError)) throw error;
    }
  };
  const greeting = (attempt: number, resume: object | undefined): Buffer =>
    frame({
      type: 2,
      flags: CHECKED,
      payload: encode({ ...hello, attempt, resume }),
    });
  agent.line.deliver(greeting(0, undefined));
  let written = 0;
  for (const step of steps(reader, greeting)) {
    if (step.raw !== undefined) agent.line.deliver(step.raw);
    if (step.turn === true) await turn();
    if (step.ms !== undefined) agent.clock.advance(step.ms);
    written += agent.line.take().length;
    if (agent.budget.bytes > 2 * budgetBytes) throw new Error(`spools of ${agent.budget.bytes} bytes`);
  }
  await turn();
  written += agent.line.take().length;
  // Of every byte that came there is a bounded answer.
  if (written > MiB + 20 * KiB * input.length) throw new Error(`${written} bytes for ${input.length}`);
  agent.line.fail();
  agent.giveUp();
  if (agent.budget.bytes !== 0 || agent.clock.timerCount !== 0 || agent.known.size !== 0)
    throw new Error(`left: ${agent.budget.bytes} bytes, ${agent.clock.timerCount} timers`);
}

const hello = {
  generations: [1],
  connectionKey: Buffer.alloc(16, 1),
  hostVersion: 'x',
  windowBytes: 5_000,
  frameBytesMax: 65_536,
};

/** The host library with a guest that says what it likes: whatever was asked is answered, or fails with the line. */
async function fuzzHost(input: Uint8Array): Promise<void> {
  const reader = new Reader(input);
  const line = new TestLine();
  const connecting = Agent.greet(line, { heartbeatIntervalMs: 1_000_000 });
  connecting.catch(() => {});
  await turn();
  const hellos = readFrames(line.take()).filter(({ type }) => type === 2);
  const { connectionKey } = codec.decode('Hello', hellos[0]?.payload ?? Buffer.alloc(0));
  const greeting = (attempt: number, resume: object | undefined): Buffer => {
    const welcome = { ...welcomeOf(connectionKey), attempt: 1_000_000 + attempt, resume };
    return frame({ type: 3, flags: CHECKED, payload: encode(welcome) });
  };
  line.deliver(greeting(0, undefined));
  const agent = await connecting;
  const asked: Promise<unknown>[] = [
    agent.exec('x', ['y'], { input: 'z', maxBufferBytes: 64 * KiB }),
    followed(agent),
    agent.attach('s', { from: 'start', stdin: true }),
    agent.ping(),
    agent.info(),
    agent.sessions.list(),
    agent.sessions.wait('s'),
    watched(agent),
    observed(agent),
    agent.sessions.members('s'),
    agent.closed,
  ];
  let settled = 0;
  for (const promise of asked)
    promise
      .then(
        () => settled++,
        () => settled++,
      )
      .catch(() => {});
  for (const step of steps(reader, greeting)) {
    if (step.raw !== undefined) line.deliver(step.raw);
    if (step.turn === true) await turn();
    line.take();
  }
  await turn();
  line.fail();
  await turn();
  await turn();
  if (settled !== asked.length) throw new Error(`${asked.length - settled} calls are left hanging`);
}

async function followed(agent: Agent): Promise<void> {
  const session = await agent.spawn('x');
  session.stdout.resume();
  session.stderr?.resume();
  await Promise.allSettled([session.signal('TERM'), session.resize({ rows: 1, cols: 1 }), session.closed]);
  await session.exited;
}

async function watched(agent: Agent): Promise<void> {
  for await (const { omitted } of agent.sessions.watchStats({ intervalMs: 100 })) if (omitted > 0) return;
}

async function observed(agent: Agent): Promise<void> {
  const output = await agent.sessions.output('s', { from: 1 });
  output.stdout?.resume();
  output.stderr?.resume();
  await output.ended;
}

export const targets: Readonly<Record<string, FuzzTarget>> = {
  decoder: fuzzDecoder,
  codec: fuzzCodec,
  agent: fuzzAgentEnd,
  host: fuzzHost,
};
