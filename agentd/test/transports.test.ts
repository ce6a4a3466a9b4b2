import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { type Clock, type HawserError, type Line, type LineHandler, systemClock } from '@hawser/protocol';
import t, { type Test } from 'tap';
import * as native from '../src/ffi/native.js';
import { Poller } from '../src/processes/poller.js';
import { PolledLine } from '../src/transports/polled-line.js';
import { openTransport, type Transport } from '../src/transports/transport.js';
import { VirtioTransport } from '../src/transports/virtio.js';
import { isVsockPeerAllowed } from '../src/transports/vsock.js';

const folder = mkdtempSync(join(tmpdir(), 'hawser-transports-'));
const poller = Poller.open();
t.teardown(() => {
  poller.close();
  rmSync(folder, { recursive: true });
});

let names = 0;
const newPath = (): string => join(folder, `s${names++}`);
const everyByte = Buffer.from(Array.from({ length: 256 }, (_, value) => value));
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const open = (spec: string, clock: Clock = systemClock): Transport =>
  openTransport(spec, { poller, vsockAllowLoopback: false, clock });

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
  closes = 0;
  reason: HawserError | undefined;
  shortWrites = 0;
  total = 0;
  readonly line: Line;
  readonly #buffer: Buffer;
  readonly #hash = createHash('sha256');
  readonly #chunks: Buffer[] = [];
  readonly #head = Buffer.alloc(28);
  readonly #changed: (() => void)[] = [];
  #rest: Buffer = Buffer.alloc(0);

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

  closed(reason?: HawserError): void {
    this.closes++;
    this.reason = reason;
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

  async end(): Promise<HawserError | undefined> {
    await this.until(() => this.closes > 0);
    await nextTurn();
    if (this.closes !== 1) throw new Error(`closed came ${this.closes} times`);
    return this.reason;
  }

  #notify(): void {
    for (const resolve of this.#changed.splice(0)) resolve();
  }

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

/** The lines of a transport, in turn. */
class Lines {
  readonly errors: HawserError[] = [];
  readonly #lines: User[] = [];
  readonly #waiting: ((user: User) => void)[] = [];
  readonly add = (line: Line): void => {
    const user = new User(line);
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#lines.push(user);
    else waiting(user);
  };
  readonly error = (error: HawserError): void => void this.errors.push(error);

  get waiting(): number {
    return this.#lines.length;
  }

  next(): Promise<User> {
    const user = this.#lines.shift();
    return user === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(user);
  }
}

async function connected(path: string): Promise<Socket> {
  const socket = connect(path);
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

async function readAll(socket: Socket, bytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk as Buffer);
    total += (chunk as Buffer).length;
    if (total >= bytes) break;
  }
  return Buffer.concat(chunks);
}

const descriptors = (): number => readdirSync('/proc/self/fd').length;

async function noneLeft(t: Test, before: number): Promise<void> {
  while (descriptors() > before) await sleep(2);
  t.pass('no descriptor is left');
}

// libuv opens a spare descriptor with its first stream, and keeps it.
t.before(async () => {
  const server = createServer().listen(newPath());
  await once(server, 'listening');
  server.close();
});

async function refusal(start: () => Promise<void> | void): Promise<HawserError> {
  try {
    await start();
  } catch (error) {
    return error as HawserError;
  }
  throw new Error('was not refused');
}

t.test('a transport that makes no sense is refused by name', (t) => {
  for (const spec of [
    '',
    'unix',
    'tcp:80',
    'constructor:x',
    'unix:',
    'unix:a\0b',
    'virtio:',
    'virtio:a/b',
    'vsock:',
    'vsock:x',
    'vsock:4294967295',
    'uart:',
    'uart:/dev/x?baud=fast',
    'stdio:x',
  ]) {
    t.throws(() => open(spec), { code: 'invalid_config' }, JSON.stringify(spec));
    t.throws(() => open(spec), { message: new RegExp(spec.replace(/[?\0].*/, '')) });
  }
  t.end();
});

t.test('unix: many peers, every byte, both ways at once', async (t) => {
  const before = descriptors();
  const path = newPath();
  const transport = open(`unix:${path}`);
  const lines = new Lines();
  const umask = process.umask(0);
  await transport.start(lines.add, lines.error);
  process.umask(umask);
  t.equal(lstatSync(path).mode & 0o7777, 0o600, 'only its user may connect');
  t.equal(transport.name, `unix:${path}`);

  const sockets = await Promise.all([connected(path), connected(path)]);
  const users = [await lines.next(), await lines.next()];
  const sent = Buffer.concat([everyByte, noise(16 * 1024 * 1024)]);
  const back = Buffer.concat([everyByte, noise(12 * 1024 * 1024)]);
  for (const user of users) user.send(back);
  for (const socket of sockets) socket.write(sent);
  await Promise.all(
    sockets.map(async (socket) =>
      t.equal(sha256(await readAll(socket, back.length)), sha256(back), 'to the host'),
    ),
  );
  for (const user of users) {
    t.match(user.line, { kind: 'unix', mayCorrupt: false, dataBytesPreferred: 128 * 1024 });
    t.match(user.line.name, new RegExp(`^unix:${path} \\(pid ${process.pid}\\)$`));
    await user.until(() => user.total === sent.length);
    t.equal(user.hash, sha256(sent), 'to the guest');
    t.ok(user.shortWrites > 0, 'some writes were short');
  }

  const [mine, theirs] = users as [User, User];
  mine.line.close();
  t.equal(mine.closes, 0, 'not from inside close');
  mine.line.close();
  t.equal(await mine.end(), undefined, 'own close has no reason');
  t.equal(mine.line.write(everyByte), 0, 'a closed line takes nothing');
  transport.stop();
  t.notOk(existsSync(path), 'the socket file is gone');
  const wakes = poller.wakes;
  await sleep(50);
  t.ok(poller.wakes - wakes <= 1, 'nothing wakes an idle line');
  sockets[1].write('still here');
  await theirs.until(() => theirs.total === sent.length + 10);
  sockets[1].end();
  t.match(await theirs.end(), { code: 'line_closed', message: /closed by the other side/ });
  for (const socket of sockets) socket.destroy();
  transport.close();
  t.same(lines.errors, []);
  await noneLeft(t, before);
});

t.test('unix: what is on the path decides', async (t) => {
  const path = newPath();
  const lines = new Lines();
  const first = open(`unix:${path}`);
  await first.start(lines.add, lines.error);
  const taken = await refusal(() => open(`unix:${path}`).start(lines.add, lines.error));
  t.match(taken, { code: 'line_open_failed', errno: 'EADDRINUSE', message: new RegExp(`unix:${path}`) });
  const peer = await connected(path);
  await lines.next();
  t.pass('the refused one did not harm the first');

  // Another agent's file has taken its place.
  renameSync(path, `${path}.old`);
  const other = createServer().listen(path);
  await once(other, 'listening');
  first.close();
  t.ok(existsSync(path), 'closing leaves what belongs to somebody else');
  other.close();
  peer.destroy();

  // A listener that was killed leaves its file.
  const stale = newPath();
  const socat = spawn('socat', [`UNIX-LISTEN:${stale},unlink-close=0`, 'STDIO']);
  while (!existsSync(stale)) await sleep(5);
  socat.kill('SIGKILL');
  await once(socat, 'exit');
  const second = open(`unix:${stale}`);
  await second.start(lines.add, lines.error);
  (await connected(stale)).destroy();
  t.equal((await (await lines.next()).end())?.code, 'line_closed', 'a stale file is replaced');
  unlinkSync(stale);
  second.close();
  t.pass('closing without the file is no error');

  writeFileSync(stale, 'precious');
  t.match(await refusal(() => open(`unix:${stale}`).start(lines.add, lines.error)), { errno: 'EADDRINUSE' });
  t.ok(lstatSync(stale).isFile(), 'a file that is no socket stays');
  t.match(await refusal(() => open('unix:/nowhere/x').start(lines.add, lines.error)), { errno: 'ENOENT' });
  t.match(await refusal(() => open(`unix:/${'x'.repeat(200)}`).start(lines.add, lines.error)), {
    errno: 'ENAMETOOLONG',
  });
});

t.test('unix: peers that come and go at once', async (t) => {
  const before = descriptors();
  const path = newPath();
  const lines = new Lines();
  const transport = open(`unix:${path}`);
  await transport.start(lines.add, lines.error);
  for (let i = 0; i < 100; i++) {
    const socket = connect(path).on('error', () => {});
    if (i % 2 === 0) socket.on('connect', () => socket.destroy());
    else socket.end('hello');
  }
  const codes = new Set<string | undefined>();
  for (let i = 0; i < 100; i++) {
    const user = await lines.next();
    user.send(noise(64 * 1024));
    codes.add((await user.end())?.code);
  }
  t.same([...codes], ['line_closed']);
  transport.close();
  await noneLeft(t, before);
});

function pair(): [number, number] {
  const out = new Int32Array(2);
  if (native.socketpair(out) < 0) throw new Error('socketpair');
  return [out[0] as number, out[1] as number];
}

const write = (fd: number, bytes: Uint8Array): number =>
  native.write2(fd, bytes, 0, bytes.length, null, 0, 0);

function pairLine(): { line: PolledLine; peer: number; fd: number } {
  const [fd, peer] = pair();
  const line = new PolledLine({
    poller,
    readFd: fd,
    kind: 'unix',
    name: 'pair',
    mayCorrupt: false,
    dataBytesPreferred: 1024,
    release: () => void native.close(fd),
  });
  return { line, peer, fd };
}

t.test(
  'a line whose reader is full holds the peer up, and hears of its end when it reads again',
  async (t) => {
    const { line, peer } = pairLine();
    const user = new User(line);
    line.setReading(false);
    const sent = noise(1024 * 1024);
    const taken = write(peer, sent);
    t.ok(taken < sent.length);
    await sleep(10);
    t.equal(user.total, 0);
    native.close(peer);
    const wakes = poller.wakes;
    await sleep(50);
    t.ok(poller.wakes - wakes <= 2, 'the hang-up does not spin');
    line.setReading(true);
    t.match(await user.end(), { code: 'line_closed' });
    t.equal(user.hash, sha256(sent.subarray(0, taken)), 'what was sent before the end was read');
  },
);

t.test('what a peer said before it went is heard, though writing to it fails', async (t) => {
  const { line, peer } = pairLine();
  const user = new User(line);
  const sent = noise(128 * 1024);
  t.equal(write(peer, sent), sent.length);
  native.close(peer);
  user.send(noise(64 * 1024));
  t.equal(user.closes, 0, 'not from inside write');
  t.match(await user.end(), { code: 'line_closed' });
  t.equal(user.hash, sha256(sent));
});

t.test('a handler that closes in the middle of a read hears no more of it', async (t) => {
  const { line, peer } = pairLine();
  write(peer, noise(100_000));
  let reads = 0;
  await new Promise<void>((resolve) => {
    line.start({
      readBuffer: () => Buffer.alloc(4096),
      received: () => {
        reads++;
        line.close();
      },
      writable: () => t.fail('writable'),
      closed: () => resolve(),
    });
  });
  await sleep(5);
  t.equal(reads, 1);
  native.close(peer);
});

t.test('a busy line leaves the others their turn', async (t) => {
  const before = descriptors();
  const busy = pairLine();
  const quiet = pairLine();
  const flood = noise(64 * 1024);
  let reads = 0;
  const buffer = Buffer.alloc(4096);
  busy.line.start({
    readBuffer: () => buffer,
    received: () => {
      // There is always more to read.
      if (++reads % 8 === 0) write(busy.peer, flood);
    },
    writable: () => {},
    closed: () => {},
  });
  const user = new User(quiet.line);
  write(busy.peer, flood);
  write(busy.peer, flood);
  await sleep(5);
  const { length } = everyByte;
  write(quiet.peer, everyByte);
  await user.until(() => user.total === length);
  t.ok(reads > 100, `${reads} reads`);
  busy.line.close();
  quiet.line.close();
  native.close(busy.peer);
  native.close(quiet.peer);
  await noneLeft(t, before);
});

t.test('vsock: only the host may connect', async (t) => {
  t.equal(isVsockPeerAllowed(2n, false), true);
  t.equal(isVsockPeerAllowed(1n, false), false);
  t.equal(isVsockPeerAllowed(1n, true), true);
  for (const cid of [0n, 3n, 4294967295n, -1n]) t.equal(isVsockPeerAllowed(cid, true), false);

  const before = descriptors();
  const lines = new Lines();
  const transport = open('vsock:47110');
  const unsupported = await refusal(async () => {
    await transport.start(lines.add, lines.error);
    throw new Error('listens');
  });
  if (unsupported.message !== 'listens') {
    t.match(unsupported, { code: 'line_open_failed', errno: 'EAFNOSUPPORT' });
    return;
  }
  t.match(await refusal(() => open('vsock:47110').start(lines.add, lines.error)), { errno: 'EADDRINUSE' });
  transport.close();
  await noneLeft(t, before);
});

/** A pair of terminals that are each other's line. */
async function ptyPair(
  t: Test,
  left = newPath(),
  right = newPath(),
): Promise<{ left: string; right: string; socat: ChildProcess }> {
  const socat = spawn('socat', [`pty,raw,echo=0,link=${left}`, `pty,raw,echo=0,link=${right}`], {
    stdio: 'ignore',
  });
  t.teardown(() => socat.kill('SIGKILL'));
  while (!existsSync(left) || !existsSync(right)) await sleep(5);
  return { left, right, socat };
}

t.test('uart: every byte, both ways at once with both ends full, and again after a hang-up', async (t) => {
  const before = descriptors();
  const { left, right, socat } = await ptyPair(t);
  const ends = [open(`uart:${left}`), open(`uart:${right}?baud=921600`)] as const;
  const lines = [new Lines(), new Lines()] as const;
  for (const i of [0, 1] as const) await ends[i].start(lines[i].add, lines[i].error);
  const users = [await lines[0].next(), await lines[1].next()] as const;
  t.match(users[0].line, { kind: 'uart', name: `uart:${left}`, mayCorrupt: true, dataBytesPreferred: 1152 });
  t.match(users[1].line, { dataBytesPreferred: 4096 });
  const sent = [
    Buffer.concat([everyByte, noise(5 * 1024 * 1024)]),
    Buffer.concat([everyByte, noise(6 * 1024 * 1024)]),
  ] as const;
  for (const i of [0, 1] as const) users[i].send(sent[i]);
  for (const i of [0, 1] as const) {
    await users[i].until(() => users[i].total >= sent[1 - i]!.length);
    t.equal(users[i].hash, sha256(sent[1 - i]!));
    t.ok(users[i].shortWrites > 0, 'some writes were short');
  }
  const wakes = poller.wakes;
  await sleep(50);
  t.ok(poller.wakes - wakes <= 2, 'nothing wakes an idle port');
  const held = await refusal(() => open(`uart:${left}`).start(lines[0].add, lines[0].error));
  t.match(held, { code: 'line_open_failed', message: /another program has it open/ });

  // Before the terminals' numbers are free for somebody else's, which the links would then lead to.
  for (const path of [left, right]) rmSync(path);
  socat.kill('SIGKILL');
  for (const user of users) t.match(await user.end(), { code: 'line_closed' });
  await sleep(100);
  await ptyPair(t, left, right);
  const again = [await lines[0].next(), await lines[1].next()] as const;
  again[0].send(everyByte);
  await again[1].until(() => again[1].total === 256);
  t.ok(again[1].bytes.equals(everyByte), 'the device came back, and so did the line');
  t.equal(lines[0].errors.length, 1, 'told once');

  ends[0].close();
  t.equal(await again[0].end(), undefined);
  ends[1].stop();
  again[1].send(everyByte);
  t.equal(again[1].closes, 0, 'a line goes on when its transport has stopped');
  again[1].line.close();
  await again[1].end();
  await noneLeft(t, before);
  await sleep(50);
  t.equal(lines[0].waiting + lines[1].waiting, 0, 'no line after close');
});

t.test('uart: what cannot be opened', async (t) => {
  const lines = new Lines();
  t.match(await refusal(() => open('uart:/nowhere/tty').start(lines.add, lines.error)), {
    code: 'line_open_failed',
    errno: 'ENOENT',
    message: /uart:\/nowhere\/tty/,
  });
  t.match(await refusal(() => open('uart:/dev/null').start(lines.add, lines.error)), { errno: 'ENOTTY' });
});

/** Time that passes when the test says so. */
class TestClock implements Clock {
  readonly waits: number[] = [];
  readonly #due: (() => void)[] = [];

  now(): number {
    return 0;
  }

  after(ms: number, callback: () => void): () => void {
    this.waits.push(ms);
    this.#due.push(callback);
    return () => {
      const at = this.#due.indexOf(callback);
      if (at >= 0) this.#due.splice(at, 1);
    };
  }

  get pending(): number {
    return this.#due.length;
  }

  async pass(): Promise<void> {
    while (this.#due.length === 0) await nextTurn();
    this.#due.shift()?.();
  }
}

// What a port does without a host (LINES.md) is what a socket does whose peer is gone: IN|HUP, and
// reads of 0. That the host comes back on the same descriptor is played with dup3.
t.test('virtio: the host comes and goes on one descriptor, each time with a line of its own', async (t) => {
  const before = descriptors();
  const dev = newPath();
  const sysfs = newPath();
  mkdirSync(join(sysfs, 'vport0p1'), { recursive: true });
  mkdirSync(join(sysfs, 'vport0p2'));
  mkdirSync(dev);
  writeFileSync(join(sysfs, 'vport0p2', 'name'), 'agent\n');
  const device = join(dev, 'vport0p2');
  execFileSync('mkfifo', [device]);
  const clock = new TestClock();
  const context = { poller, clock, vsockAllowLoopback: false, name: 'virtio:agent' };
  const lines = new Lines();
  const transport = new VirtioTransport('agent', context, { dev, sysfs });
  transport.start(lines.add, lines.error);
  const number = Number(readdirSync('/proc/self/fd').find((fd) => isLinkTo(fd, device)));

  // A fifo opened for both is its own host.
  const first = await lines.next();
  t.match(first.line, {
    kind: 'virtio',
    name: 'virtio:agent',
    mayCorrupt: false,
    dataBytesPreferred: 32 * 1024,
  });
  first.send(everyByte);
  await first.until(() => first.total === 256);
  first.line.close();
  await first.end();

  let peer = replace(number);
  native.close(peer);
  const wakes = poller.wakes;
  for (let look = 0; look < 8; look++) await clock.pass();
  while (clock.pending === 0) await nextTurn();
  t.same(clock.waits, [10, 20, 40, 80, 160, 250, 250, 250, 250], 'looks less and less often');
  t.ok(poller.wakes - wakes <= 9, 'and is woken no more than it looks');
  t.equal(lines.waiting, 0);

  peer = replace(number);
  await clock.pass();
  const second = await lines.next();
  t.not(second.line, first.line);
  const sent = noise(100 * 1024);
  write(peer, sent);
  await second.until(() => second.total === sent.length);
  t.equal(second.hash, sha256(sent));
  native.close(peer);
  t.match(await second.end(), { code: 'line_closed', errno: undefined });
  t.same(lines.errors, [], 'a host that leaves is no error');
  t.equal(clock.waits.at(-1), 10, 'and is expected back soon');

  // A read that fails is a port that was unplugged.
  peer = replace(number);
  await clock.pass();
  const third = await lines.next();
  third.send(everyByte);
  native.close(peer);
  t.match(await third.end(), { code: 'line_closed', errno: 'ECONNRESET' });
  t.match(lines.errors, [{ code: 'line_closed', message: /virtio:agent/ }]);
  renameSync(device, `${device}.away`);
  await clock.pass();
  renameSync(`${device}.away`, device);
  await clock.pass();
  const fourth = await lines.next();
  transport.close();
  t.equal(await fourth.end(), undefined);
  t.equal(clock.pending, 0, 'nothing goes on after close');
  await noneLeft(t, before);
});

function isLinkTo(fd: string, path: string): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`) === path;
  } catch {
    return false; // The descriptor of the listing itself.
  }
}

/** Puts a socket behind the number. @returns its other end. */
function replace(number: number): number {
  const [mine, peer] = pair();
  native.dup3(mine, number);
  native.close(mine);
  return peer;
}

t.test("virtio: a port is found by udev's link too, and what is not there is said", async (t) => {
  const dev = newPath();
  const sysfs = newPath();
  mkdirSync(join(dev, 'virtio-ports'), { recursive: true });
  execFileSync('mkfifo', [join(dev, 'vport9p1')]);
  symlinkSync('../vport9p1', join(dev, 'virtio-ports', 'agent'));
  const lines = new Lines();
  const make = (port: string): VirtioTransport =>
    new VirtioTransport(
      port,
      { poller, clock: systemClock, vsockAllowLoopback: false, name: `virtio:${port}` },
      { dev, sysfs },
    );
  for (const port of ['agent', join(dev, 'vport9p1')]) {
    const transport = make(port);
    transport.start(lines.add, lines.error);
    await lines.next();
    transport.close();
  }
  mkdirSync(join(sysfs, 'vport0p1'), { recursive: true });
  writeFileSync(join(sysfs, 'vport0p1', 'name'), 'other\n');
  t.match(await refusal(() => make('nothing').start(lines.add, lines.error)), {
    code: 'line_open_failed',
    errno: 'ENOENT',
    message: /virtio:nothing.*no such port \(ports: other\)/,
  });
});

/** Sends back what comes, and says on stderr how it ended. */
const echoAgent = `
  import { writeSync } from 'node:fs';
  import { Poller } from '${import.meta.dirname}/../src/processes/poller.ts';
  import { openTransport } from '${import.meta.dirname}/../src/transports/transport.ts';
  const poller = Poller.open();
  const buffer = Buffer.alloc(64 * 1024);
  let line;
  let rest = Buffer.alloc(0);
  const flush = () => {
    while (rest.length > 0) {
      const taken = line.write(rest);
      rest = rest.subarray(taken);
      if (rest.length > 0) return line.setReading(false);
    }
    line.setReading(true);
  };
  try {
    openTransport('stdio:', { poller, vsockAllowLoopback: false }).start((opened) => {
      line = opened;
      line.start({
        readBuffer: () => buffer,
        received: (bytes) => { rest = Buffer.concat([rest, buffer.subarray(0, bytes)]); flush(); },
        writable: flush,
        closed: (error) => {
          writeSync(1, 'to nowhere');
          writeSync(2, line.kind + ': ' + error?.message);
          poller.close();
        },
      });
    });
  } catch (error) {
    writeSync(2, error.code + ': ' + error.message);
    poller.close();
  }
`;

function startEcho(stdin: 'pipe' | 'ignore'): ChildProcess {
  const loader = `${import.meta.dirname}/../../tooling/typescript.mjs`;
  const options = ['--conditions=@hawser/source', `--import=${loader}`, '--input-type=module'];
  return spawn(process.execPath, [...options, '-e', echoAgent], { stdio: [stdin, 'pipe', 'pipe'] });
}

async function text(child: ChildProcess): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of child.stderr!) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

t.test('stdio: the standard streams are the line, which ends with them', async (t) => {
  const child = startEcho('pipe');
  const said = text(child);
  const sent = Buffer.concat([everyByte, noise(12 * 1024 * 1024)]);
  child.stdin!.write(sent);
  const hash = createHash('sha256');
  let total = 0;
  for await (const chunk of child.stdout!) {
    hash.update(chunk as Buffer);
    total += (chunk as Buffer).length;
    if (total === sent.length) child.stdin!.end();
  }
  t.equal(total, sent.length, 'and nothing that was written to stdout later');
  t.equal(hash.digest('hex'), sha256(sent));
  t.equal(await said, 'stdio: stdio: was closed by the other side');
});

t.test('stdio: what is no pipe is refused', async (t) => {
  t.match(
    await text(startEcho('ignore')),
    /^line_open_failed: stdio: cannot be opened: descriptor 0 is a device/,
  );
});
