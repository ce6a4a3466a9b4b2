import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { constants, existsSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex, PassThrough } from 'node:stream';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { HawserError, type Line, type LineHandler } from '@hawser/protocol';
import t, { type Test } from 'tap';
import { adoptSocket } from '../src/ffi/vsock.js';
import { lineOpeners, openLine } from '../src/transports/connect-line.js';
import { DuplexLine } from '../src/transports/duplex-line.js';
import { SocketReader } from '../src/transports/socket-reader.js';

const folder = mkdtempSync(join(tmpdir(), 'hawser-lines-'));
t.teardown(() => rmSync(folder, { recursive: true }));

let names = 0;
const newPath = (): string => join(folder, `s${names++}`);
const everyByte = Buffer.from(Array.from({ length: 256 }, (_, value) => value));
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Bytes that do not repeat, so that a swapped piece is seen. */
function noise(bytes: number): Buffer {
  const words = new Uint32Array(bytes / 4);
  for (let i = 0, x = 88172645; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[i] = x;
  }
  return Buffer.from(words.buffer);
}

/** What a line's user does: reads into one buffer, and sends as the line takes it. */
class User implements LineHandler {
  readonly ended: HawserError | undefined | null = null;
  closes = 0;
  shortWrites = 0;
  total = 0;
  readonly line: Line;
  readonly #buffer: Buffer;
  readonly #hash = createHash('sha256');
  readonly #chunks: Buffer[] = [];
  #rest: Buffer = Buffer.alloc(0);
  #changed: (() => void)[] = [];

  constructor(line: Line, bufferBytes = 64 * 1024) {
    this.line = line;
    this.#buffer = Buffer.alloc(bufferBytes);
    line.start(this);
  }

  readBuffer(): Uint8Array {
    if (this.closes > 0) throw new Error('asked after closed');
    return this.#buffer;
  }

  received(bytes: number): void {
    if (this.closes > 0) throw new Error('received after closed');
    const part = this.#buffer.subarray(0, bytes);
    this.total += bytes;
    this.#hash.update(part);
    if (this.total <= 1024 * 1024) this.#chunks.push(Buffer.from(part));
    this.#notify();
  }

  writable(): void {
    if (this.closes > 0) throw new Error('writable after closed');
    this.#flush();
  }

  closed(error?: HawserError): void {
    this.closes++;
    Object.assign(this, { ended: error });
    this.#notify();
  }

  /** As a connection does: a header that is reused at once, and a body that stays. */
  send(bytes: Buffer): void {
    this.#rest = bytes;
    this.#flush();
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  get hash(): string {
    return this.#hash.copy().digest('hex');
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#changed.push(resolve));
  }

  /** @returns the reason */
  async end(): Promise<HawserError | undefined> {
    await this.until(() => this.closes > 0);
    await nextTurn();
    if (this.closes !== 1) throw new Error(`closed came ${this.closes} times`);
    return this.ended ?? undefined;
  }

  #notify(): void {
    for (const resolve of this.#changed.splice(0)) resolve();
  }

  readonly #head = Buffer.alloc(28);
  #flush(): void {
    while (this.#rest.length > 0) {
      const head = this.#head.subarray(0, this.#rest.copy(this.#head, 0, 0, 28));
      const body = this.#rest.subarray(head.length, head.length + 100_000);
      const taken = this.line.write(head, body);
      this.#head.fill(0xee);
      this.#rest = this.#rest.subarray(taken);
      if (taken < head.length + body.length) {
        this.shortWrites++;
        return;
      }
    }
  }
}

async function listen(path: string, onSocket: (socket: Socket) => void): Promise<Server> {
  const server = createServer({ allowHalfOpen: false }, (socket) => {
    socket.on('error', () => {});
    onSocket(socket);
  });
  server.listen(path);
  await once(server, 'listening');
  return server;
}

function descriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Some are closed on a pool thread, a moment later. */
async function noneLeft(t: Test, before: number): Promise<void> {
  while (descriptors() > before) await sleep(2);
  t.pass('no descriptor is left');
}

async function refused(promise: Promise<Line>): Promise<HawserError> {
  const error: unknown = await promise.then(
    (line) => {
      line.close();
      return undefined;
    },
    (reason: unknown) => reason,
  );
  if (!(error instanceof HawserError)) throw new Error(`expected a HawserError, got ${String(error)}`);
  return error;
}

/** Sends a lot into an echo, while it comes back. */
async function echo(t: Test, line: Line, bytes: number): Promise<User> {
  const user = new User(line);
  user.send(everyByte);
  await user.until(() => user.total === 256);
  t.ok(user.bytes.equals(everyByte), 'every byte value both ways');
  const sent = noise(bytes);
  user.send(sent);
  await user.until(() => user.total === 256 + bytes);
  t.equal(user.hash, sha256(Buffer.concat([everyByte, sent])), `${bytes} bytes both ways`);
  return user;
}

t.test('unix: carries every byte, and ends once', async (t) => {
  const before = descriptors();
  const path = newPath();
  const server = await listen(path, (socket) => void socket.pipe(socket));
  const line = await openLine(`unix:${path}`);
  t.match(line, { kind: 'unix', name: `unix:${path}`, mayCorrupt: false, dataBytesPreferred: 128 * 1024 });
  const user = await echo(t, line, 16 * 1024 * 1024);
  t.ok(user.shortWrites > 0, 'some writes were short');
  line.close();
  t.equal(user.closes, 0, 'not from inside close');
  line.close();
  t.equal(await user.end(), undefined, 'own close has no reason');
  t.equal(line.write(everyByte), 0, 'a closed line takes nothing');
  server.close();
  await once(server, 'close');
  await noneLeft(t, before);
});

t.test('unix: what the peer does is told, with nothing lost before it', async (t) => {
  const path = newPath();
  const sent = noise(3 * 1024 * 1024);
  const server = await listen(path, (socket) => socket.end(sent));
  t.teardown(() => server.close());
  const line = await openLine(`unix:${path}`);
  await sleep(20); // The peer has closed its side; nobody has read yet.
  const user = new User(line, 1000);
  t.match(await user.end(), { code: 'line_closed', message: /unix:.*closed by the other side/ });
  t.equal(user.hash, sha256(sent));
});

t.test('unix: a peer that goes at once, before and after start', async (t) => {
  const path = newPath();
  const server = await listen(path, (socket) => socket.destroy());
  t.teardown(() => server.close());
  for (const wait of [0, 20]) {
    const line = await openLine(`unix:${path}`);
    await sleep(wait);
    const user = new User(line);
    user.send(noise(1024 * 1024));
    t.match(await user.end(), { code: 'line_closed' });
  }
});

t.test('unix: a handler that closes in the middle of a read hears no more of it', async (t) => {
  const path = newPath();
  const server = await listen(path, (socket) => socket.write(noise(1024 * 1024)));
  t.teardown(() => server.close());
  const line = await openLine(`unix:${path}`);
  let reads = 0;
  const end = new Promise<void>((resolve) => {
    line.start({
      readBuffer: () => Buffer.alloc(100),
      received: () => {
        reads++;
        line.close();
      },
      writable: () => t.fail('writable'),
      closed: () => resolve(),
    });
  });
  await end;
  await sleep(10);
  t.equal(reads, 1);
});

t.test('unix: reading stops and goes on, so that a peer is held up', async (t) => {
  const path = newPath();
  let peer: Socket | undefined;
  const sent = noise(8 * 1024 * 1024);
  const server = await listen(path, (socket) => {
    peer = socket;
    socket.write(sent);
  });
  t.teardown(() => server.close());
  const line = await openLine(`unix:${path}`);
  const user = new User(line);
  line.setReading(false);
  await sleep(50);
  t.equal(user.total, 0);
  t.ok((peer?.writableLength ?? 0) > 1024 * 1024);
  line.setReading(true);
  await user.until(() => user.total > 1024 * 1024);
  line.setReading(false);
  const { total } = user;
  await sleep(50);
  t.equal(user.total, total);
  line.setReading(true);
  await user.until(() => user.total === sent.length);
  t.equal(user.hash, sha256(sent));
  line.close();
});

t.test('a line that cannot be opened says what and why', async (t) => {
  const before = descriptors();
  const stale = newPath();
  const server = spawn('socat', [`UNIX-LISTEN:${stale},unlink-close=0`, 'STDIO']);
  while (!existsSync(stale)) await sleep(5);
  server.kill('SIGKILL');
  await once(server, 'exit');
  t.match(await refused(openLine(`unix:${stale}`)), {
    code: 'line_open_failed',
    errno: 'ECONNREFUSED',
    message: new RegExp(stale),
  });
  t.match(await refused(openLine('unix:/nowhere/x')), {
    code: 'line_open_failed',
    errno: 'ENOENT',
    message: /unix:\/nowhere\/x/,
  });
  t.match(await refused(openLine('uart:/nowhere/tty')), {
    code: 'line_open_failed',
    errno: 'ENOENT',
    message: /uart:\/nowhere\/tty/,
  });
  writeFileSync(join(folder, 'file'), '');
  t.match(await refused(openLine(`uart:${folder}/file`)), { code: 'line_open_failed', errno: 'ENOTTY' });
  for (const spec of [
    '',
    'nothing',
    'tcp:1',
    'constructor:x',
    'unix:',
    'vsock:3',
    'vsock:3:x',
    'vsock:3:4294967296',
    'vsock:1:2:3',
    'firecracker:1',
    'firecracker:/x:y',
    'uart:',
    'uart:/dev/x?baud=fast',
    'exec: ',
  ]) {
    t.match(await refused(openLine(spec)), { code: 'invalid_argument' }, JSON.stringify(spec));
  }
  t.match(await refused(openLine(`unix:${stale}`, { signal: AbortSignal.abort() })), { code: 'aborted' });
  await noneLeft(t, before);
});

t.test('further kinds of line have their place in the table', async (t) => {
  const opened: string[] = [];
  const local = async (rest: string): Promise<Line> => {
    opened.push(rest);
    return new DuplexLine(new PassThrough());
  };
  const line = await openLine('local:', {}, { ...lineOpeners, local });
  t.same(opened, ['']);
  line.close();
});

/** A VMM's vsock socket: reads the line, and does with it what the test says. */
function vmm(path: string, answer: (port: string, socket: Socket) => void): Promise<Server> {
  return listen(path, (socket) => {
    let text = '';
    const onData = (chunk: Buffer): void => {
      text += chunk.toString('latin1');
      const [whole, port] = /^CONNECT (\d+)\n/.exec(text) ?? [];
      if (whole === undefined) return;
      socket.off('data', onData);
      answer(port as string, socket);
    };
    socket.on('data', onData);
  });
}

t.test('firecracker: the line begins behind the answer, to the byte', async (t) => {
  const path = `${newPath()}:with:colons`;
  const ports: string[] = [];
  const server = await vmm(path, (port, socket) => {
    ports.push(port);
    if (port === '1024') {
      socket.write(Buffer.concat([Buffer.from('OK 1073741824\n'), everyByte]));
      socket.pipe(socket);
    } else {
      void (async () => {
        for (const byte of Buffer.concat([Buffer.from('OK 5\n'), everyByte])) {
          socket.write(Buffer.of(byte));
          await nextTurn();
        }
        socket.pipe(socket);
      })();
    }
  });
  t.teardown(() => server.close());
  for (const port of [1024, 4294967295]) {
    const line = await openLine(`firecracker:${path}:${port}`);
    t.match(line, { kind: 'vsock', mayCorrupt: false, dataBytesPreferred: 64 * 1024 });
    const user = new User(line);
    await user.until(() => user.total === 256);
    t.ok(user.bytes.equals(everyByte));
    const sent = noise(12 * 1024 * 1024);
    user.send(sent);
    await user.until(() => user.total === 256 + sent.length);
    t.equal(user.hash, sha256(Buffer.concat([everyByte, sent])));
    line.close();
    await user.end();
  }
  t.same(ports, ['1024', '4294967295']);
});

t.test('firecracker: a guest that does not answer is an error, whatever the VMM does', async (t) => {
  const before = descriptors();
  const path = newPath();
  const server = await vmm(path, (port, socket) => {
    if (port === '1') socket.end();
    else if (port === '2') socket.end('OK 5');
    else if (port === '3') socket.write('Error: no\n');
    else if (port === '4') socket.write('x'.repeat(1_000_000));
  });
  const open = (port: number, options = {}): Promise<HawserError> =>
    refused(openLine(`firecracker:${path}:${port}`, options));
  t.match(await open(1), {
    code: 'line_open_failed',
    errno: 'ECONNREFUSED',
    message: /nobody in the guest listens on port 1/,
  });
  t.match(await open(2), { code: 'line_open_failed', message: /closed after "OK 5"/ });
  t.match(await open(3), { code: 'line_open_failed', message: /answered "Error: no"/ });
  t.match(await open(4), { code: 'line_open_failed', message: /answered "xxx/ });
  t.match(await open(5, { timeoutMs: 30 }), {
    code: 'line_open_failed',
    errno: 'ETIMEDOUT',
    message: /timeoutMs 30/,
  });
  const controller = new AbortController();
  const opening = open(5, { signal: controller.signal });
  await sleep(20);
  controller.abort();
  t.match(await opening, { code: 'aborted' });
  server.close();
  await once(server, 'close');
  await noneLeft(t, before);
});

t.test('exec: a command carries the line', async (t) => {
  const before = descriptors();
  const line = await openLine('exec:cat');
  t.match(line, { kind: 'pipe', name: 'exec:cat', mayCorrupt: false });
  const user = await echo(t, line, 12 * 1024 * 1024);
  line.close();
  t.equal(await user.end(), undefined);
  await noneLeft(t, before);
});

t.test('exec: how a command ended the line', async (t) => {
  const said: Buffer[] = [];
  const onStderr = (chunk: Uint8Array): void => void said.push(Buffer.from(chunk));
  const ends = async (command: string): Promise<HawserError | undefined> =>
    new User(await openLine(`exec:${command}`, { onStderr })).end();
  t.match(await ends('echo no route to host >&2; exit 3'), {
    code: 'line_closed',
    message: /exited with code 3: no route to host/,
  });
  t.equal(Buffer.concat(said).toString(), 'no route to host\n');
  t.match(await ends('kill -9 $$'), { message: /was killed by SIGKILL/ });
  t.match(await ends('/nowhere/program'), { message: /exited with code 127: .*not found/ });
  t.match(await ends('exit 0'), { message: /exited with code 0$/ });
  // Long after the start, and with more on stderr than is kept.
  t.match(await ends('head -c 100000 /dev/zero | tr "\\0" x >&2; echo the end >&2'), {
    message: /x the end$|xthe end$/,
  });
});

const running = (pid: number): boolean => existsSync(`/proc/${pid}/stat`);

t.test('exec: a command that does not end with its stdin is ended, and its children', async (t) => {
  const line = await openLine(`exec:trap '' TERM; (trap '' TERM; sleep 1000) & echo $$ $!; wait; sleep 1000`);
  const user = new User(line);
  await user.until(() => user.bytes.includes('\n'));
  const [leader, child] = user.bytes.toString().trim().split(' ').map(Number) as [number, number];
  line.close();
  await user.end();
  t.ok(running(leader), 'closed does not wait for the command');
  while (running(leader) || running(child)) await sleep(20);
  t.pass('both are gone');
});

/** A pair of terminals that are each other's line. */
async function ptyPair(t: Test): Promise<{ left: string; right: string; socat: ChildProcess }> {
  const left = newPath();
  const right = newPath();
  const socat = spawn('socat', [`pty,raw,echo=0,link=${left}`, `pty,raw,echo=0,link=${right}`], {
    stdio: 'ignore',
  });
  t.teardown(() => socat.kill('SIGKILL'));
  while (!existsSync(left) || !existsSync(right)) await sleep(5);
  return { left, right, socat };
}

t.test('uart: every byte, both ways at once with both ends full', async (t) => {
  const before = descriptors();
  const { left, right, socat } = await ptyPair(t);
  const here = await openLine(`uart:${left}`);
  const there = await openLine(`uart:${right}?baud=921600`);
  t.match(here, { kind: 'uart', mayCorrupt: true, dataBytesPreferred: 1152 });
  t.match(there, { dataBytesPreferred: 4096 });
  const users = [new User(here), new User(there, 700)];
  const sent = [
    Buffer.concat([everyByte, noise(3 * 1024 * 1024)]),
    Buffer.concat([everyByte, noise(4 * 1024 * 1024)]),
  ];
  users.forEach((user, i) => user.send(sent[i]!));
  for (const [i, user] of users.entries()) {
    const expected = sent[1 - i]!;
    await user.until(() => user.total >= expected.length);
    t.equal(user.hash, sha256(expected));
    t.ok(users[1 - i]!.shortWrites > 0, 'some writes were short');
  }
  const cpu = process.cpuUsage();
  await sleep(100);
  const { user: userUs, system } = process.cpuUsage(cpu);
  t.ok(userUs + system < 50_000, 'an idle port takes no time');
  here.close();
  t.equal(await users[0]!.end(), undefined);
  // The other end's device is hung up when socat goes.
  socat.kill('SIGKILL');
  t.match(await users[1]!.end(), { code: 'line_closed', message: new RegExp(`uart:${right}`) });
  await noneLeft(t, before);
});

t.test('uart: reading stops and goes on; a port that is held is not opened twice', async (t) => {
  const { left, right } = await ptyPair(t);
  const here = await openLine(`uart:${left}`);
  const there = await openLine(`uart:${right}`);
  t.match(await refused(openLine(`uart:${left}`)), {
    code: 'line_open_failed',
    message: /another program has it open/,
  });
  const reader = new User(here);
  const writer = new User(there);
  here.setReading(false);
  const sent = noise(1024 * 1024);
  writer.send(sent);
  await sleep(100);
  t.equal(reader.total, 0);
  here.setReading(true);
  await reader.until(() => reader.total === sent.length);
  t.equal(reader.hash, sha256(sent));
  here.close();
  there.close();
});

t.test('duplex: any stream is a line, and holds no more than it may', async (t) => {
  // A stream that takes one write per turn, and would let a megabyte wait.
  const taken: Buffer[] = [];
  let most = 0;
  const stream = new Duplex({
    writableHighWaterMark: 1024 * 1024,
    read() {},
    write(chunk: Buffer, _encoding, done) {
      taken.push(Buffer.from(chunk));
      most = Math.max(most, stream.writableLength);
      setImmediate(done);
    },
  });
  const line = new DuplexLine(stream, { name: 'mine', outstandingBytesMax: 4096 });
  t.match(line, { kind: 'duplex', name: 'mine' });
  const user = new User(line, 10);
  const sent = noise(256 * 1024);
  user.send(sent);
  stream.push(everyByte);
  await user.until(() => user.total === 256);
  t.ok(user.bytes.equals(everyByte));
  while (Buffer.concat(taken).length < sent.length) await nextTurn();
  t.ok(Buffer.concat(taken).equals(sent));
  t.ok(most <= 4096, `${most} bytes waited at most`);
  stream.destroy(new Error('cable pulled'));
  t.match(await user.end(), { code: 'line_closed', message: 'mine failed: cable pulled' });
});

t.test('duplex: a stream that was over before it was used', async (t) => {
  const stream = new PassThrough();
  const line = new DuplexLine(stream);
  stream.destroy(new Error('gone'));
  await nextTurn();
  t.match(await new User(line).end(), { code: 'line_closed', message: /gone/ });
  const closed = new DuplexLine(new PassThrough());
  closed.close();
  t.throws(() => closed.start(new User(new DuplexLine(new PassThrough()))), { code: 'internal' });
});

// If this fails with a new Node, libuv registers an adopted descriptor with epoll at once, and the
// one that is put in its place is not seen: see `adoptSocket`.
t.test('a descriptor that net.Socket refuses becomes one', async (t) => {
  const before = descriptors();
  const { left, right, socat } = await ptyPair(t);
  const fd = openSync(left, constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOCTTY);
  const reader = new SocketReader();
  const line = new DuplexLine(adoptSocket(fd, { onread: reader.onread }), { kind: 'vsock', reader });
  const there = await openLine(`uart:${right}`);
  const users = [new User(line), new User(there)];
  const sent = [
    Buffer.concat([everyByte, noise(2 * 1024 * 1024)]),
    Buffer.concat([everyByte, noise(1024 * 1024)]),
  ];
  users.forEach((user, i) => user.send(sent[i]!));
  for (const [i, user] of users.entries()) {
    await user.until(() => user.total >= sent[1 - i]!.length);
    t.equal(user.hash, sha256(sent[1 - i]!));
  }
  line.close();
  there.close();
  for (const user of users) await user.end();
  socat.kill('SIGKILL');
  await noneLeft(t, before);
});

// A host whose vsock reaches a guest is not to be had here; with none, connecting fails or hangs.
t.test('vsock: a guest that is not there is an error', async (t) => {
  const before = descriptors();
  const error = await refused(openLine('vsock:4711:1024', { timeoutMs: 500 }));
  t.match(error, { code: 'line_open_failed', message: /vsock:4711:1024/ });
  t.ok(error.errno, error.message);
  await noneLeft(t, before);
});
