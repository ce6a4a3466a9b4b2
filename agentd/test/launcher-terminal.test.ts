import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import t from 'tap';
import * as native from '../src/ffi/native.js';
import { reapPidfd, type WaitResult } from '../src/processes/exit-status.js';
import {
  type LaunchedProcess,
  Launcher,
  type LaunchFailure,
  type LaunchRequest,
} from '../src/processes/launcher.js';
import { POLL_IN, Poller } from '../src/processes/poller.js';
import { PseudoTerminal, Terminals } from '../src/processes/pseudo-terminal.js';

const { EAGAIN, EINVAL, EIO } = constants.errno;
const size = { rows: 33, cols: 101, xpixel: 808, ypixel: 528 };
const poller = Poller.open();
const launcher = new Launcher(poller);
t.teardown(() => poller.close());

function request(
  terminal: PseudoTerminal,
  command: string,
  changes: Partial<LaunchRequest> = {},
): LaunchRequest {
  return {
    candidates: [Buffer.from('/bin/sh')],
    argv: ['sh', '-c', command].map((text) => Buffer.from(text)),
    env: ['PATH=/usr/bin:/bin', 'TERM=xterm'].map((text) => Buffer.from(text)),
    stdio: { kind: 'terminal', slavePath: terminal.slavePath },
    rlimits: [],
    noNewPrivileges: false,
    ...changes,
  };
}

interface Running {
  readonly child: LaunchedProcess;
  /** Everything the terminal said, until it hung up. */
  readonly output: Promise<string>;
  readonly wait: Promise<WaitResult>;
  readonly outcome: Promise<LaunchFailure | null>;
  /** Resolves when the output so far has this text. */
  said(text: string): Promise<void>;
}

function start(terminal: PseudoTerminal, command: string, changes: Partial<LaunchRequest> = {}): Running {
  let text = '';
  let settled: (failure: LaunchFailure | null) => void = () => {};
  const outcome = new Promise<LaunchFailure | null>((resolve) => {
    settled = resolve;
  });
  const child = launcher.launch(request(terminal, command, changes), (failure) => {
    settled(failure);
  });
  // Nobody has the other side open before the command has.
  const output = outcome.then(() => readToHangup());
  const readToHangup = (): Promise<string> =>
    new Promise((resolve) => {
      const part = Buffer.alloc(4096);
      const watch = poller.watch(terminal.masterFd, POLL_IN, () => {
        const count = native.read(terminal.masterFd, part, 0, part.length);
        if (count > 0) text += part.toString('latin1', 0, count);
        if (count > 0 || count === -EAGAIN) return;
        t.equal(count, -EIO, 'the terminal hung up');
        watch.stop();
        resolve(text);
      });
    });
  const wait = new Promise<WaitResult>((resolve) => {
    const watch = poller.watch(child.pidfd, POLL_IN, () => {
      child.settle();
      const result = reapPidfd(child.pidfd);
      if (result === null) return;
      watch.stop();
      native.close(child.pidfd);
      resolve(result);
    });
  });
  const said = async (wanted: string): Promise<void> => {
    while (!text.includes(wanted)) await nextTurn();
  };
  return { child, output, wait, outcome, said };
}

function type(terminal: PseudoTerminal, text: string): void {
  const bytes = Buffer.from(text, 'latin1');
  t.equal(native.write2(terminal.masterFd, bytes, 0, bytes.length, null, 0, 0), bytes.length);
}

t.test('the command has a controlling terminal of the right size from its first instruction', async (t) => {
  const terminal = PseudoTerminal.open(size);
  t.strictSame(terminal.windowSize(), size);
  const running = start(
    terminal,
    'tty; stty size; ps -o tpgid=,pid= -p $$ | tr -s " "; echo to-dev-tty > /dev/tty; ls /proc/self/fd | tr "\\n" " "',
  );
  t.equal(running.child.stdinFd, -1);
  const lines = (await running.output).split('\r\n');
  t.equal(lines[0], terminal.slavePath);
  t.equal(lines[1], '33 101');
  t.match(lines[2], /^ ?(\d+) \1$/, 'it is the foreground group');
  t.equal(lines[3], 'to-dev-tty');
  t.equal(lines[4], '0 1 2 3 ', 'no master, no slave but its own');
  t.strictSame((await running.wait).status, { code: 0 });
  t.equal(await running.outcome, null);
  terminal.close();
});

t.test('a terminal that was made in advance is like another, and is given out once', async (t) => {
  const terminals = new Terminals();
  terminals.prepare();
  const before = readdirSync('/proc/self/fd');
  terminals.prepare();
  t.strictSame(readdirSync('/proc/self/fd'), before, 'one is enough');
  const first = terminals.open(size);
  t.strictSame(readdirSync('/proc/self/fd'), before, 'it is the one');
  const second = terminals.open({ rows: 5, cols: 6 });
  t.not(second.slavePath, first.slavePath);
  t.strictSame(first.windowSize(), size);
  t.strictSame(second.windowSize(), { rows: 5, cols: 6, xpixel: 0, ypixel: 0 });
  for (const terminal of [first, second]) {
    const { output, wait } = start(terminal, 'stty size; tty; stty -a | tail -1');
    t.match(await output, new RegExp(`^\\d+ \\d+\r\n${terminal.slavePath}\r\n.*echoctl`));
    t.strictSame((await wait).status, { code: 0 });
    terminal.close();
  }
  terminals.prepare();
  terminals.close();
  terminals.close();
  t.equal(readdirSync('/proc/self/fd').length, before.length - 1);
});

t.test('a resize reaches the program, pixels included', async (t) => {
  const terminal = PseudoTerminal.open({ rows: 24, cols: 80 });
  t.strictSame(terminal.windowSize(), { rows: 24, cols: 80, xpixel: 0, ypixel: 0 });
  const running = start(terminal, 'trap "stty size; exit 5" WINCH; echo ready; while :; do sleep 0.01; done');
  await running.said('ready');
  terminal.resize(size);
  t.strictSame(terminal.windowSize(), size);
  t.match(await running.output, /33 101/);
  t.strictSame((await running.wait).status, { code: 5 });
  terminal.close();
});

t.test('the end of input is the terminal’s own character, in canonical mode', async (t) => {
  const terminal = PseudoTerminal.open(size);
  const running = start(terminal, 'stty eof ^F; echo ready; cat; echo over; stty raw; echo raw; sleep 1000');
  await running.said('ready');
  const character = native.terminalEof(terminal.masterFd);
  t.equal(character, 6);
  type(terminal, `line\n${String.fromCharCode(character)}`);
  await running.said('raw');
  t.equal(native.terminalEof(terminal.masterFd), -EINVAL);
  t.equal(native.foregroundGroup(terminal.masterFd), running.child.pid);
  t.equal(native.kill(-native.foregroundGroup(terminal.masterFd), constants.signals.SIGKILL), 0);
  await running.output;
  t.strictSame((await running.wait).status, { signal: 'SIGKILL', coreDumped: false });
  terminal.close();
});

t.test('the interrupt character and the hang-up are signals', async (t) => {
  const terminal = PseudoTerminal.open(size);
  const interrupted = start(terminal, 'echo ready; exec sleep 1000');
  await interrupted.said('ready');
  type(terminal, '\x03');
  await interrupted.output;
  t.match((await interrupted.wait).status, { signal: 'SIGINT' });
  terminal.close();

  const other = PseudoTerminal.open(size);
  const child = launcher.launch(request(other, 'exec sleep 1000'), () => other.close());
  const wait = await new Promise<WaitResult>((resolve) => {
    const watch = poller.watch(child.pidfd, POLL_IN, () => {
      const result = reapPidfd(child.pidfd);
      if (result === null) return;
      watch.stop();
      native.close(child.pidfd);
      resolve(result);
    });
  });
  t.match(wait.status, { signal: 'SIGHUP' });
});

t.test('a launch that fails leaves a terminal that hangs up', async (t) => {
  const terminal = PseudoTerminal.open(size);
  const running = start(terminal, '', { candidates: [Buffer.from('/no/such')] });
  t.match(await running.outcome, { code: 'not_found', stage: 'exec' });
  t.equal(await running.output, '');
  await running.wait;
  terminal.close();
  const gone = PseudoTerminal.open(size);
  const { slavePath } = gone;
  const missing = start(gone, 'true', { stdio: { kind: 'terminal', slavePath: '/dev/pts/no-such' } });
  t.match(await missing.outcome, {
    code: 'launch_failed',
    stage: 'terminal',
    errno: 'ENOENT',
    message: /\/dev\/pts\/no-such/,
  });
  await Promise.all([missing.output, missing.wait]);
  gone.close();
  t.match(slavePath, /^\/dev\/pts\/\d+$/);
});

t.test('the user owns the terminal it runs in', { skip: process.getuid?.() !== 0 }, async (t) => {
  const terminal = PseudoTerminal.open(size);
  const running = start(terminal, 'stat -c %u $(tty); echo reopened > $(tty)', {
    credentials: { uid: 12345, gid: 12345, groups: [] },
  });
  t.equal(await running.output, '12345\r\nreopened\r\n');
  await running.wait;
  terminal.close();
});

t.test('100 terminals leave nothing behind, and lose no output', async (t) => {
  const before = readdirSync('/proc/self/fd');
  for (let round = 0; round < 10; round++) {
    await Promise.all(
      Array.from({ length: 10 }, async () => {
        const terminal = PseudoTerminal.open(size);
        const running = start(terminal, 'seq 5000; echo end');
        const output = await running.output;
        t.ok(output.endsWith('5000\r\nend\r\n') && output.length === 23_893 + 5000 + 5, 'complete');
        await running.wait;
        terminal.close();
      }),
    );
  }
  t.strictSame(readdirSync('/proc/self/fd'), before);
  t.match(readFileSync('/proc/self/status', 'utf8'), /State:\tR/);
});
