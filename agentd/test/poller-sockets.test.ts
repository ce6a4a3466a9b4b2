import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import * as native from '../src/ffi/native.js';
import { POLL_IN, Poller } from '../src/processes/poller.js';

const { EADDRINUSE, EAGAIN, ENAMETOOLONG } = constants.errno;
const poller = Poller.open();
const folder = mkdtempSync(join(tmpdir(), 'hawser-sockets-'));
t.teardown(() => {
  poller.close();
  rmSync(folder, { recursive: true });
});

function listen(path: string, mode = 0o600): number {
  return native.listenUnix(Buffer.from(`${path}\0`), mode);
}

function readable(fd: number): Promise<void> {
  return new Promise((resolve) => {
    const watch = poller.watch(fd, POLL_IN, () => {
      watch.stop();
      resolve();
    });
  });
}

t.test('a Unix socket has the mode asked for, whatever the umask', (t) => {
  const before = process.umask(0);
  for (const [umask, mode] of [
    [0, 0o600],
    [0o077, 0o666],
    [0o777, 0o660],
  ] as const) {
    process.umask(umask);
    const path = join(folder, `mode-${mode.toString(8)}`);
    const fd = listen(path, mode);
    t.ok(fd >= 0);
    t.equal(statSync(path).mode & 0o777, mode);
    native.close(fd);
  }
  process.umask(before);
  t.end();
});

t.test('a connection is accepted with its peer’s credentials, and bytes pass', async (t) => {
  const path = join(folder, 'accept');
  const listener = listen(path);
  const peer = new BigInt64Array(4);
  t.equal(native.accept(listener, peer), -EAGAIN, 'it does not wait');
  const client = connect(path);
  await readable(listener);
  const fd = native.accept(listener, peer);
  t.ok(fd >= 0);
  t.strictSame(
    [...peer],
    [1n, BigInt(process.getuid?.() ?? 0), BigInt(process.getgid?.() ?? 0), BigInt(process.pid)],
  );
  client.end('hello');
  await readable(fd);
  const bytes = Buffer.alloc(16);
  t.equal(native.available(fd), 5);
  t.equal(native.read(fd, bytes, 4, 12), 5);
  t.equal(bytes.toString('latin1', 4, 9), 'hello');
  native.close(fd);
  native.close(listener);
});

t.test('a socket file is replaced only when nobody answers on it', (t) => {
  const path = join(folder, 'stale');
  const alive = listen(path);
  t.equal(listen(path), -EADDRINUSE);
  native.close(alive);
  const again = listen(path);
  t.ok(again >= 0);
  native.close(again);
  const file = join(folder, 'file');
  writeFileSync(file, 'precious');
  t.equal(listen(file), -EADDRINUSE);
  t.equal(statSync(file).size, 8);
  t.equal(listen(join(folder, 'x'.repeat(200))), -ENAMETOOLONG);
  t.end();
});

t.test('a peer that is gone is an error, not a signal', (t) => {
  const out = new Int32Array(2);
  t.equal(native.socketpair(out), 0);
  const [here, there] = out as unknown as [number, number];
  native.close(there);
  const bytes = Buffer.from('x');
  t.equal(native.write2(here, bytes, 0, 1, null, 0, 0), -constants.errno.EPIPE);
  native.close(here);
  t.end();
});

t.test('pipes have a capacity that can be asked and set', (t) => {
  const out = new Int32Array(2);
  native.socketpair(out);
  t.equal(native.pipeCapacity(out[0] as number, 0), -constants.errno.EBADF, 'a socket has none');
  for (const fd of out) native.close(fd);
  t.end();
});

t.test('vsock listens where the kernel has it', (t) => {
  const fd = native.listenVsock(54_321);
  if (fd < 0) {
    t.equal(fd, -constants.errno.EAFNOSUPPORT);
    t.end();
    return;
  }
  t.equal(native.accept(fd, new BigInt64Array(4)), -EAGAIN);
  t.equal(native.listenVsock(54_321), -EADDRINUSE);
  native.close(fd);
  t.end();
});
