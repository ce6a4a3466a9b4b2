import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import t from 'tap';
import * as native from '../src/ffi/native.js';
import { reapPidfd } from '../src/processes/exit-status.js';
import { type LaunchedProcess, Launcher } from '../src/processes/launcher.js';
import { OrphanReaper } from '../src/processes/orphan-reaper.js';
import { POLL_IN, Poller } from '../src/processes/poller.js';

const poller = Poller.open();
const launcher = new Launcher(poller);
const owned = new Set<number>();
const reaped: number[] = [];
const reaper = new OrphanReaper(
  (pid) => owned.has(pid),
  (pid) => reaped.push(pid),
);
t.equal(native.becomeSubreaper(), 0);
reaper.start();
t.teardown(() => {
  reaper.stop();
  poller.close();
});

function launch(command: string): LaunchedProcess {
  const child = launcher.launch(
    {
      candidates: [Buffer.from('/bin/sh')],
      argv: ['sh', '-c', command].map((text) => Buffer.from(text)),
      env: [Buffer.from('PATH=/usr/bin:/bin')],
      stdio: { kind: 'pipes', stdin: 'null' },
      rlimits: [],
      noNewPrivileges: false,
    },
    () => {},
  );
  owned.add(child.pid);
  return child;
}

function closeAll(child: LaunchedProcess): void {
  for (const fd of [child.pidfd, child.stdoutFd, child.stderrFd]) native.close(fd);
}

/** Resolves when the process is a zombie, which it stays. */
function dead(child: LaunchedProcess): Promise<void> {
  return new Promise((resolve) => {
    const watch = poller.watch(child.pidfd, POLL_IN, () => {
      watch.stop();
      child.settle();
      resolve();
    });
  });
}

/** The pid that the command printed. */
async function printedPid(child: LaunchedProcess): Promise<number> {
  const bytes = Buffer.alloc(64);
  return new Promise((resolve) => {
    const watch = poller.watch(child.stdoutFd, POLL_IN, () => {
      const count = native.read(child.stdoutFd, bytes, 0, bytes.length);
      watch.stop();
      resolve(Number(bytes.toString('latin1', 0, count)));
    });
  });
}

t.test('an orphan is reaped, its dead parent is left to who owns it', async (t) => {
  const child = launch('sleep 0.05 >/dev/null 2>&1 & echo $!');
  const orphan = await printedPid(child);
  await dead(child);
  while (!reaped.includes(orphan)) await nextTurn();
  t.notOk(existsSync(`/proc/${orphan}`));
  t.equal(native.nextZombie(), child.pid, 'the leader waits, though the reaper met it first');
  t.strictSame(reapPidfd(child.pidfd)?.status, { code: 0 });
  owned.delete(child.pid);
  closeAll(child);
  t.equal(native.nextZombie(), 0);
});

t.test('many orphans, with several owned zombies in the way', async (t) => {
  const leaders = Array.from({ length: 5 }, () =>
    launch('for i in 1 2 3 4 5 6; do (setsid sleep 0.02 &) ; done >/dev/null 2>&1'),
  );
  const before = reaped.length;
  await Promise.all(leaders.map(dead));
  while (reaped.length < before + 30) await nextTurn();
  for (const child of leaders) {
    t.strictSame(reapPidfd(child.pidfd)?.status, { code: 0 });
    owned.delete(child.pid);
    closeAll(child);
  }
  t.equal(native.nextZombie(), 0);
});

t.test("a child that libuv waits for is libuv's, if it is said to be owned", async (t) => {
  const child = spawn('/bin/sh', ['-c', 'exit 9']);
  if (child.pid !== undefined) owned.add(child.pid);
  const [code] = await once(child, 'exit');
  t.equal(code, 9);
});

t.test('a reaper that was stopped reaps no more', async (t) => {
  reaper.stop();
  const child = launch('true');
  owned.delete(child.pid);
  await dead(child);
  for (let i = 0; i < 20; i++) await nextTurn();
  t.equal(native.nextZombie(), child.pid);
  reaper.sweep();
  t.equal(native.nextZombie(), 0);
  t.match(reapPidfd(child.pidfd), { status: { unknown: true }, usage: { userUs: 0 } });
  closeAll(child);
});
