import { constants } from 'node:os';
import t from 'tap';
import { exitStatus } from '../src/processes/exit-status.js';
import { signalName, signalNumber } from '../src/processes/signals.js';

t.test('signals go by name, short name and number', (t) => {
  for (const text of ['SIGTERM', 'TERM', 'sigterm', 'term', '15']) t.equal(signalNumber(text), 15, text);
  t.equal(signalNumber('IOT'), 6);
  t.equal(signalNumber('SIGPOLL'), 29);
  t.equal(signalName(15), 'SIGTERM');
  t.equal(signalName(6), 'SIGABRT');
  t.equal(signalName(29), 'SIGIO');
  t.end();
});

t.test('every signal that Node knows has the same number here', (t) => {
  for (const [name, number] of Object.entries(constants.signals)) t.equal(signalNumber(name), number, name);
  t.end();
});

t.test('real-time signals are named from the nearer end, and known from both', (t) => {
  const named: readonly [number, string][] = [
    [34, 'SIGRTMIN'],
    [35, 'SIGRTMIN+1'],
    [49, 'SIGRTMIN+15'],
    [50, 'SIGRTMAX-14'],
    [63, 'SIGRTMAX-1'],
    [64, 'SIGRTMAX'],
  ];
  for (const [number, name] of named) {
    t.equal(signalName(number), name);
    t.equal(signalNumber(name), number);
  }
  t.equal(signalNumber('SIGRTMIN+30'), 64);
  t.equal(signalNumber('RTMAX-30'), 34);
  t.equal(signalNumber('64'), 64);
  t.end();
});

t.test('names and numbers agree for all 64', (t) => {
  for (let number = 1; number <= 64; number++)
    t.equal(signalNumber(signalName(number)), number, signalName(number));
  t.end();
});

t.test('anything else is refused by name', (t) => {
  for (const text of [
    '',
    'SIG',
    'SIGNOPE',
    '0',
    '-1',
    '65',
    '015',
    '9x',
    'SIGRTMIN+31',
    'SIGRTMAX-31',
    'SIGRTMIN+',
    'SIGRTMIN+01',
    '__proto__',
  ]) {
    t.throws(
      () => signalNumber(text),
      { code: 'unknown_signal', message: `unknown signal ${JSON.stringify(text)}` },
      text,
    );
  }
  t.end();
});

t.test('a wait result is a code or a signal, never both', (t) => {
  t.strictSame(exitStatus(1, 0), { code: 0 });
  t.strictSame(exitStatus(1, 255), { code: 255 });
  t.strictSame(exitStatus(2, 9), { signal: 'SIGKILL', coreDumped: false });
  t.strictSame(exitStatus(3, 11), { signal: 'SIGSEGV', coreDumped: true });
  t.strictSame(exitStatus(2, 40), { signal: 'SIGRTMIN+6', coreDumped: false });
  t.throws(() => exitStatus(5, 19), { code: 'internal' });
  t.end();
});
