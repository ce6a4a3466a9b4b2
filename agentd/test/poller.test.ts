import { closeSync, readdirSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import t from 'tap';
import * as native from '../src/ffi/native.js';
import { POLL_HUP, POLL_IN, POLL_OUT, Poller, type Watch } from '../src/processes/poller.js';

const byte = Buffer.from('x');
const scratch = Buffer.alloc(4096);

/** Two connected descriptors; what is written to one can be read from the other. */
function pair(): [number, number] {
  const out = new Int32Array(2);
  if (native.socketpair(out) < 0) throw new Error('socketpair');
  return [out[0] as number, out[1] as number];
}

function write(fd: number, bytes: Uint8Array = byte): number {
  return native.write2(fd, bytes, 0, bytes.length, null, 0, 0);
}

function drain(fd: number): number {
  return native.read(fd, scratch, 0, scratch.length);
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await nextTurn();
}

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

// If this fails with a new Node, libuv's uv_poll_t is not what native/node_api_subset.h says.
t.test('a descriptor that becomes readable calls back', async (t) => {
  const poller = Poller.open();
  const [here, there] = pair();
  const events = await new Promise<number>((resolve) => {
    const watch = poller.watch(here, POLL_IN, (reported) => {
      watch.stop();
      resolve(reported);
    });
    write(there);
  });
  t.equal(events, POLL_IN);
  poller.close();
  native.close(here);
  native.close(there);
});

t.test('an idle poller wakes nobody', async (t) => {
  const poller = Poller.open();
  const [here, there] = pair();
  poller.watch(here, POLL_IN, () => t.fail('nothing was written'));
  await turns(20);
  t.equal(poller.wakes, 0);
  poller.close();
  native.close(here);
  native.close(there);
});

t.test('it is level-triggered: what is left unread is reported again', async (t) => {
  const poller = Poller.open();
  const [here, there] = pair();
  write(there, Buffer.from('abc'));
  let calls = 0;
  await new Promise<void>((resolve) => {
    poller.watch(here, POLL_IN, () => {
      calls++;
      if (native.read(here, scratch, 0, 1) === 1 && calls === 3) resolve();
    });
  });
  await turns(20);
  t.equal(calls, 3, 'and no more once it is read');
  poller.close();
  native.close(here);
  native.close(there);
});

t.test('interest can be changed; none at all silences even a hang-up', async (t) => {
  const poller = Poller.open();
  const [here, there] = pair();
  const seen: number[] = [];
  const watch = poller.watch(here, 0, (events) => {
    seen.push(events);
    watch.setInterest(0);
  });
  native.close(there);
  await turns(20);
  t.strictSame(seen, []);
  t.equal(poller.wakes, 0);
  watch.setInterest(POLL_OUT);
  while (seen.length === 0) await nextTurn();
  t.ok((seen[0] as number) & POLL_OUT);
  t.ok((seen[0] as number) & POLL_HUP);
  t.notOk((seen[0] as number) & POLL_IN, 'what was not asked for is not reported');
  await turns(20);
  t.equal(seen.length, 1);
  watch.stop();
  watch.stop();
  watch.setInterest(POLL_IN);
  await turns(20);
  t.equal(seen.length, 1, 'a stopped watch stays stopped');
  poller.close();
  native.close(here);
});

t.test('a callback may stop others whose event is in the same batch', async (t) => {
  const poller = Poller.open();
  const pairs = [pair(), pair(), pair()];
  const watches: Watch[] = [];
  let calls = 0;
  for (const [here] of pairs) {
    const watch = poller.watch(here, POLL_IN, () => {
      calls++;
      for (const each of watches) each.stop();
    });
    watches.push(watch);
  }
  for (const [, there] of pairs) write(there);
  await turns(20);
  t.equal(calls, 1);
  poller.close();
  for (const fd of pairs.flat()) native.close(fd);
});

t.test('an event of a closed descriptor never reaches the next watch of its number', async (t) => {
  const poller = Poller.open();
  const [a, aPeer] = pair();
  const [b, bPeer] = pair();
  const [replacement, replacementPeer] = pair();
  let wrong = 0;
  const replace = (fd: number): Watch => {
    // fd now is another, idle socket under the same number; the old watch was not stopped.
    t.equal(native.dup3(replacement, fd), fd);
    return poller.watch(fd, POLL_IN, () => wrong++);
  };
  let replaced = 0;
  let fresh: Watch | undefined;
  const old: Watch[] = [];
  const callback = (own: number, other: number) => (): void => {
    replaced++;
    for (const watch of old) if (watch.fd === own) watch.stop();
    fresh = replace(other);
  };
  old.push(poller.watch(a, POLL_IN, callback(a, b)), poller.watch(b, POLL_IN, callback(b, a)));
  write(aPeer);
  write(bPeer);
  await turns(20);
  t.equal(replaced, 1);
  t.equal(wrong, 0);
  for (const watch of old) watch.stop();
  write(replacementPeer);
  while (wrong === 0) {
    await nextTurn();
    if (wrong > 0) fresh?.stop();
  }
  t.pass('stopping the old watches left the new one alone');
  poller.close();
  for (const fd of [a, aPeer, b, bPeer, replacement, replacementPeer]) native.close(fd);
});

// A child has copies of the agent's descriptors until it has closed them, and epoll goes by what is open, not by numbers.
t.test('a closed watch wakes nobody while somebody else still has its descriptor', async (t) => {
  const poller = Poller.open();
  const [here, there] = pair();
  const copy = native.duplicate(here);
  const watch = poller.watch(here, POLL_IN, () => t.fail('it was closed'));
  watch.close();
  write(there);
  await turns(20);
  t.equal(poller.wakes, 0);
  poller.close();
  for (const fd of [copy, there]) native.close(fd);
});

t.test('a callback that throws costs no other its event', async (t) => {
  const poller = Poller.open();
  const pairs = [pair(), pair(), pair()];
  const thrown: unknown[] = [];
  // tap has a listener of its own.
  const listeners = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', (error) => thrown.push(error.message));
  let calls = 0;
  for (const [here, there] of pairs) {
    const watch = poller.watch(here, POLL_IN, () => {
      calls++;
      watch.stop();
      throw new Error('from the callback');
    });
    write(there);
  }
  while (thrown.length < 3) await nextTurn();
  process.removeAllListeners('uncaughtException');
  for (const listener of listeners) process.on('uncaughtException', listener);
  t.equal(calls, 3);
  t.strictSame(thrown, Array(3).fill('from the callback'));
  poller.close();
  for (const fd of pairs.flat()) native.close(fd);
});

t.test('more descriptors than one batch holds are all served', async (t) => {
  const poller = Poller.open();
  const pairs = Array.from({ length: 150 }, pair);
  const served = new Set<number>();
  for (const [here, there] of pairs) {
    poller.watch(here, POLL_IN, () => {
      drain(here);
      served.add(here);
    });
    write(there);
  }
  while (served.size < 150) await nextTurn();
  t.ok(poller.wakes >= 3, '64 at a time');
  poller.close();
  for (const fd of pairs.flat()) native.close(fd);
});

t.test('what epoll does not take is refused by name', async (t) => {
  const poller = Poller.open();
  const path = Buffer.from('/etc/passwd\0');
  const fd = native.open(path, 0, 0);
  t.throws(() => poller.watch(fd, POLL_IN, () => {}), {
    code: 'system_call_failed',
    errno: 'EPERM',
    message: /descriptor/,
  });
  t.throws(() => poller.watch(4000, POLL_IN, () => {}), { code: 'system_call_failed', errno: 'EBADF' });
  closeSync(fd);
  poller.close();
  t.throws(() => poller.watch(0, POLL_IN, () => {}), { code: 'internal' });
});

t.test('closing leaves no descriptor, and may come from a callback', async (t) => {
  const before = openDescriptors();
  for (let i = 0; i < 20; i++) {
    const poller = Poller.open();
    const [here, there] = pair();
    await new Promise<void>((resolve) => {
      poller.watch(here, POLL_IN, () => {
        poller.close();
        resolve();
      });
      write(there);
    });
    native.close(here);
    native.close(there);
  }
  await turns(5);
  t.equal(openDescriptors(), before);
});
