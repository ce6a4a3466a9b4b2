import { once } from 'node:events';
import { closeSync, constants, openSync, rmSync, writeSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import type { ConnectOptions } from '@hawser/host-client';
import { connect, HawserError } from '@hawser/host-client';
import type { Frame } from '@hawser/protocol';
import { encodeFrame, FrameDecoder, frameFlags, frameTypes, MessageCodec } from '@hawser/protocol';
import type { Test } from 'tap';
import t from 'tap';
import { each, KiB, MiB, numbers, privateDirtyKiB, until } from '../load/world.js';
import { type RunningAgent, startAgent } from '../support/agentd.js';

const bootMessage = Buffer.from('[    0.000000] Linux version 6.18 (HW) ...\r\n[    0.1] HWclock\r\nlogin: ');

/** Bytes of a generator with a known start, so that a failure can be had again. */
function randomBytes(seed: number, count: number): Buffer {
  const bytes = Buffer.alloc(count);
  let state = BigInt(seed) * 0x9e3779b97f4a7c15n + 1n;
  for (let at = 0; at + 8 <= count; at += 8) {
    state = BigInt.asUintN(64, state ^ (state << 13n));
    state ^= state >> 7n;
    state = BigInt.asUintN(64, state ^ (state << 17n));
    bytes.writeBigUInt64LE(state, at);
  }
  return bytes;
}

const socketPath = (line: string): string => line.slice('unix:'.length);

/** Sends bytes to a socket and says no more. @returns when the other side has hung up, or at once with `keep`. */
async function send(path: string, bytes: Uint8Array): Promise<void> {
  const socket = createConnection(path);
  socket.on('error', () => {});
  socket.resume();
  const closed = once(socket, 'close');
  socket.end(bytes);
  await closed;
}

async function answers(t: Test, running: RunningAgent, what: string): Promise<void> {
  const agent = await running.connect({ handshakeTimeoutMs: 10_000 });
  t.equal((await agent.exec('echo', ['here'])).stdout, 'here\n', what);
  await agent.close();
}

interface Recording {
  readonly toAgent: Buffer;
  readonly toHost: Buffer;
}

/** A short conversation, recorded by a proxy between the two. */
async function record(running: RunningAgent, checked: boolean): Promise<Recording> {
  const path = join(running.folder, `proxy-${checked}`);
  const toAgent: Buffer[] = [];
  const toHost: Buffer[] = [];
  const server = createServer((host) => {
    const agent = createConnection(socketPath(running.line));
    host.on('data', (chunk) => toAgent.push(chunk)).pipe(agent);
    agent.on('data', (chunk) => toHost.push(chunk)).pipe(host);
    for (const socket of [host, agent]) socket.on('error', () => {});
  });
  await listen(server, path);
  const host = await connect(`unix:${path}`, { checked });
  await talk(host);
  await host.close();
  server.close();
  return { toAgent: Buffer.concat(toAgent), toHost: Buffer.concat(toHost) };
}

/** The conversation: what a flipped bit makes of the request does no harm. */
async function talk(host: Awaited<ReturnType<typeof connect>>): Promise<void> {
  const session = await host.spawn('/bin/cat', []);
  session.stdin?.write('some input');
  await session.signal('SIGCONT');
  await host.info();
  await host.ping();
  session.stdin?.end();
  for await (const chunk of session.stdout) void chunk;
  await session.exited;
}

async function listen(server: Server, path: string): Promise<void> {
  rmSync(path, { force: true });
  server.listen(path);
  await once(server, 'listening');
}

function flipped(bytes: Buffer, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
  return copy;
}

t.test('garbage on a socket ends no agent', async (t) => {
  await using running = await startAgent();
  const path = socketPath(running.line);
  const before = privateDirtyKiB(running.pid);

  await t.test('random bytes', async (t) => {
    for (const seed of numbers(8)) await send(path, randomBytes(seed + 1, 2 * MiB));
    await answers(t, running, 'after random bytes');
  });

  await t.test('the start of every frame, again and again', async (t) => {
    await send(path, Buffer.alloc(4 * MiB, 'HW'));
    await send(path, Buffer.alloc(4 * MiB, 'H'));
    await answers(t, running, 'after half headers');
  });

  await t.test('lengths that no frame has', async (t) => {
    for (const checked of [0, frameFlags.CHECKED]) {
      const frame = Buffer.from(
        encodeFrame({ type: frameTypes.Hello.id, flags: checked, payload: Buffer.alloc(100) }),
      );
      for (const length of [0xffff_ffff, 0x7fff_ffff, 0x0100_0000, 16 * KiB + 1]) {
        frame.writeUInt32BE(length, 20);
        await send(path, Buffer.concat([frame, Buffer.alloc(64 * KiB)]));
      }
    }
    await answers(t, running, 'after oversize lengths');
  });

  await t.test('a conversation that breaks off at every byte', async (t) => {
    const { toAgent } = await record(running, true);
    await each(numbers(toAgent.length), 8, (bytes) => send(path, toAgent.subarray(0, bytes)));
    await answers(t, running, 'after truncated conversations');
  });

  await t.test('noise is counted where it can be seen, and the connection behind it works', async (t) => {
    await using agent = await connectThroughNoise(t, running);
    const { lines } = await agent.info();
    t.ok(
      lines.some((line) => line.skippedBytes >= bootMessage.length && line.skips > 0),
      `counters: ${JSON.stringify(lines)}`,
    );
    t.ok(agent.counters.skippedBytes >= bootMessage.length, 'the host counts what it skipped, too');
    t.equal((await agent.exec('cat', [], { input: 'through noise' })).stdout, 'through noise');
  });

  await t.test('a peer that asks and never reads', async (t) => {
    const socket = createConnection(path);
    socket.on('error', () => {});
    const codec = new MessageCodec();
    const hello = (): Buffer => {
      const connectionKey = randomBytes(Math.floor(socket.bytesWritten) + 1, 16);
      const body = {
        generations: [1],
        connectionKey,
        hostVersion: '0',
        windowBytes: MiB,
        frameBytesMax: MiB,
      };
      return Buffer.from(
        encodeFrame({
          type: frameTypes.Hello.id,
          flags: frameFlags.CHECKED,
          payload: codec.encode('Hello', body),
        }),
      );
    };
    const ping = encodeFrame({ type: frameTypes.Ping.id });
    const flood = Buffer.concat([hello(), ...numbers(100_000).map(() => ping)]);
    socket.write(flood);
    for (const _ of numbers(5_000)) socket.write(hello());
    await until(
      'the flood to be over, or stopped',
      () => socket.destroyed || socket.writableLength === 0,
      20_000,
    );
    await answers(t, running, 'beside a peer that never reads');
    socket.destroy();
  });

  t.ok(
    privateDirtyKiB(running.pid) < before + 64 * KiB,
    `memory: ${before} KiB, then ${privateDirtyKiB(running.pid)}`,
  );
  t.notMatch(running.log(), /internal error/);
});

/** Boot messages before and during the conversation, in both directions, between frames. */
async function connectThroughNoise(
  t: Test,
  running: RunningAgent,
): Promise<Awaited<ReturnType<typeof connect>>> {
  const path = join(running.folder, 'noisy');
  const server = createServer((host) => {
    const agent = createConnection(socketPath(running.line));
    agent.write(bootMessage);
    host.write(bootMessage);
    host.pipe(agent).pipe(host);
    for (const socket of [host, agent]) socket.on('error', () => {});
  });
  await listen(server, path);
  t.teardown(() => server.close());
  return connect(`unix:${path}`);
}

for (const checked of [true, false]) {
  const kind = checked ? 'with checksums' : 'without checksums';
  t.test(`every single-bit flip of what a host said, ${kind}: the agent lives`, async (t) => {
    await using running = await startAgent();
    const { toAgent } = await record(running, checked);
    t.ok(toAgent.length > 400, `${toAgent.length} bytes`);
    await each(numbers(toAgent.length * 8), 8, (bit) =>
      send(socketPath(running.line), flipped(toAgent, bit)),
    );
    await answers(t, running, `after ${toAgent.length * 8} flips`);
    const agent = await running.connect();
    await until('every session to be over', async () => (await agent.info()).sessionsRunning === 0);
    await until('every line to be closed', async () => (await agent.info()).lines.length === 1);
    await agent.close();
    t.ok(privateDirtyKiB(running.pid) < 100 * KiB, `${privateDirtyKiB(running.pid)} KiB`);
    t.notMatch(running.log(), /internal error/);
  });

  t.test(`every single-bit flip of what an agent said, ${kind}: the host lives`, async (t) => {
    await using running = await startAgent();
    const { toHost } = await record(running, checked);
    const path = join(running.folder, 'flipping');
    let started = 0;
    const server = createServer((socket) => replay(socket, toHost, started++));
    await listen(server, path);
    const outcomes = new Map<string, number>();
    const count = (outcome: string): unknown => outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    await each(numbers(toHost.length * 8), 48, async () => {
      try {
        const host = await connect(`unix:${path}`, { checked, handshakeTimeoutMs: 5_000, reconnectMs: 0 });
        await talk(host).then(
          () => count('complete'),
          (error: unknown) => {
            if (!(error instanceof HawserError)) throw error;
            count(error.code);
          },
        );
        await host.close();
      } catch (error) {
        if (!(error instanceof HawserError)) throw error;
        count(`not connected: ${error.code}`);
      }
    });
    server.close();
    t.ok((outcomes.get('complete') ?? 0) > 0, `${toHost.length * 8} flips: ${JSON.stringify([...outcomes])}`);
    await answers(t, running, 'the host library works on');
  });
}

/**
 * Plays the agent's side of a recording to a host, with one bit flipped: a piece for each thing that the
 * host says. Hangs up when there is no more, or the host waits for what the flip has taken away.
 */
function replay(socket: Socket, recording: Buffer, bit: number): void {
  const codec = new MessageCodec();
  let pieces: Buffer[] | undefined;
  let waiting: NodeJS.Timeout | undefined;
  const next = (): void => {
    clearTimeout(waiting);
    const piece = pieces?.shift();
    if (piece === undefined) socket.end();
    else socket.write(piece);
    // Not every piece is an answer; and what the flip has changed may leave the host without a word.
    waiting = setTimeout(next, pieces?.length === 0 ? 30 : 3);
  };
  const decoder = frameDecoder((frame) => {
    if (pieces !== undefined || frame.type !== frameTypes.Hello.id) return;
    const { connectionKey } = codec.decode('Hello', frame.payload);
    const frames = framesOf(codec, recording, connectionKey);
    const all = flipped(Buffer.concat(frames), bit);
    let at = 0;
    pieces = frames.map(({ length }) => all.subarray(at, (at += length)));
  });
  socket.on('data', (chunk) => {
    decoder.push(chunk);
    next();
  });
  socket.on('error', () => {});
  socket.on('close', () => clearTimeout(waiting));
}

function frameDecoder(onFrame: (frame: Frame) => void): FrameDecoder {
  const frame = (one: Frame): boolean => {
    onFrame(one);
    return true;
  };
  return new FrameDecoder(
    { frame, skipped: () => {} },
    { frameBytesMax: MiB, checkedOnly: false, bufferBytes: 64 * KiB },
  );
}

/** The recording's frames, with the key of another `Hello` in the `Welcome`, and without what precedes that. */
function framesOf(codec: MessageCodec, recording: Buffer, connectionKey: Uint8Array): Buffer[] {
  const frames: Buffer[] = [];
  const decoder = frameDecoder(({ type, flags, lane, channel, offset, payload }) => {
    if (type === frameTypes.Ready.id) return;
    const isWelcome = type === frameTypes.Welcome.id;
    const body = isWelcome
      ? codec.encode('Welcome', { ...codec.decode('Welcome', payload), connectionKey })
      : payload;
    frames.push(Buffer.from(encodeFrame({ type, flags, lane, channel, offset, payload: body })));
  });
  decoder.push(recording);
  return frames;
}
t.test('boot messages on a serial line, before, during and after a conversation', async (t) => {
  await using running = await startAgent({ line: 'pty' });
  const flags = constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
  const toAgent = openSync(join(running.folder, 'host.tty'), flags);
  const toHost = openSync(join(running.folder, 'agent.tty'), flags);
  t.teardown(() => {
    for (const fd of [toAgent, toHost]) closeSync(fd);
  });
  const noise = (): void => {
    for (const fd of [toAgent, toHost]) {
      try {
        writeSync(fd, bootMessage);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error; // the cable is full
      }
    }
  };
  noise();
  const options: ConnectOptions = { handshakeTimeoutMs: 20_000, heartbeatIntervalMs: 200 };
  const agent = await running.connect(options);
  for (const i of numbers(20)) {
    noise();
    t.equal((await agent.exec('echo', [String(i)])).stdout, `${i}\n`, 'between frames it costs nothing');
  }
  const [line] = (await agent.info()).lines;
  t.ok((line?.skippedBytes ?? 0) >= 20 * bootMessage.length, `the agent counted ${line?.skippedBytes} bytes`);
  t.ok(
    agent.counters.skippedBytes >= 20 * bootMessage.length,
    `the host counted ${agent.counters.skippedBytes}`,
  );

  // In the middle of a stream it may hit a frame: then the connection ends with a word, and another one works.
  const stream = agent.exec('head', ['-c', String(4 * MiB), '/dev/zero'], { encoding: 'buffer' });
  const outcome = stream.then(
    ({ stdout }) => (stdout.length === 4 * MiB ? 'complete' : `${stdout.length} bytes`),
    (error: unknown) => (error instanceof HawserError ? error.code : String(error)),
  );
  for (const _ of numbers(50)) {
    noise();
    await Promise.race([outcome, agent.ping().catch(() => {})]);
  }
  const how = await outcome;
  t.match(how, /^(complete|line_corrupt|connection_closed|protocol_violation)$/);
  await agent.close();
  noise();
  writeSync(toAgent, randomBytes(3, 2_048));
  const again = await running.connect(options);
  t.equal((await again.exec('echo', ['again'])).stdout, 'again\n');
  await again.close();
  t.notMatch(running.log(), /internal error/);
});
