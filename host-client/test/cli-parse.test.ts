import { constants } from 'node:os';
import t, { type Test } from 'tap';
import { BadValue } from '../src/cli/bad-value.js';
import { DetachKeyFilter } from '../src/cli/detach-key-filter.js';
import { errorExitCode, recordExitCode, signalExitCode } from '../src/cli/exit-code.js';
import { parseAssignment, parseVariable } from '../src/cli/parse-assignment.js';
import { parseDetachKeys } from '../src/cli/parse-detach-keys.js';
import { parseDuration } from '../src/cli/parse-duration.js';
import { parseRlimit } from '../src/cli/parse-rlimit.js';
import { parseBytes, parseOnDisconnect } from '../src/cli/parse-session-options.js';
import { parseSignal, signalNumber } from '../src/cli/parse-signal.js';
import { parseUmask } from '../src/cli/parse-umask.js';
import { harmless } from '../src/cli/report.js';

/** Each text is refused, and the message says which text it was. */
function refused(t: Test, parse: (text: string) => unknown, texts: readonly string[]) {
  for (const text of texts) {
    try {
      parse(text);
      t.fail(`${JSON.stringify(text)} was taken`);
    } catch (error) {
      t.ok(error instanceof BadValue, `${JSON.stringify(text)} is refused`);
      t.ok((error as Error).message.includes(text.split('=').at(-1) ?? text), (error as Error).message);
    }
  }
}

t.test('durations have a unit', (t) => {
  t.equal(parseDuration('500ms'), 500);
  t.equal(parseDuration('5s'), 5000);
  t.equal(parseDuration('1.5s'), 1500);
  t.equal(parseDuration('2m'), 120_000);
  t.equal(parseDuration('1h'), 3_600_000);
  refused(t, parseDuration, ['5', '', 's', '-1s', '5 s', '0s', '1d', '5s5', '1e3s']);
  t.end();
});

t.test('limits have a soft and a hard side', (t) => {
  t.same(parseRlimit('nofile=64:128'), { nofile: { soft: 64, hard: 128 } });
  t.same(parseRlimit('nofile=64'), { nofile: { soft: 64, hard: 64 } });
  t.same(parseRlimit('core=0:unlimited'), { core: { soft: 0, hard: 'unlimited' } });
  t.same(parseRlimit('as=18446744073709551615'), {
    as: { soft: 18446744073709551615n, hard: 18446744073709551615n },
  });
  refused(t, parseRlimit, [
    'nofile',
    'nofile=',
    'nofile=1:',
    'nofile=-1',
    'nofile=1k',
    'nofile=1:2:3',
    'nofile=18446744073709551616',
  ]);
  t.throws(() => parseRlimit('files=1'), { message: /"files" is not a resource limit.* nofile / });
  t.throws(() => parseRlimit('toString=1'), { message: /"toString" is not a resource limit/ });
  t.end();
});

t.test('assignments keep every further equals sign', (t) => {
  t.same(parseAssignment('A=b=c'), ['A', 'b=c']);
  t.same(parseAssignment('A='), ['A', '']);
  t.same(parseAssignment('A=line\nline'), ['A', 'line\nline']);
  refused(t, parseAssignment, ['A', '', '=b']);
  t.same(parseVariable('A', { A: 'here' }), ['A', 'here']);
  t.equal(parseVariable('A', {}), undefined);
  t.same(parseVariable('A=', { A: 'here' }), ['A', '']);
  t.end();
});

t.test('a umask is octal', (t) => {
  t.equal(parseUmask('022'), 0o22);
  t.equal(parseUmask('0o077'), 0o77);
  t.equal(parseUmask('0777'), 0o777);
  refused(t, parseUmask, ['9', '-1', '01777', 'u=rwx', '']);
  t.end();
});

t.test('signals go by name and number, real-time ones too', (t) => {
  for (const text of ['TERM', 'term', 'SIGTERM', '15']) t.equal(parseSignal(text), 'SIGTERM');
  t.equal(parseSignal('34'), 'SIGRTMIN');
  t.equal(parseSignal('rtmin+2'), 'SIGRTMIN+2');
  t.equal(signalNumber('SIGRTMAX-1'), 63);
  t.equal(signalNumber('SIG32'), 32);
  refused(t, parseSignal, ['0', '65', 'NOPE', 'RTMIN+99', '-9']);
  if (process.platform === 'linux') {
    for (const [name, number] of Object.entries(constants.signals)) {
      if (name !== 'SIGIOT' && name !== 'SIGPOLL') t.equal(signalNumber(name), number, name);
    }
  }
  t.end();
});

t.test('exit codes are those of sh, timeout and docker', (t) => {
  t.equal(recordExitCode({ code: 42, signal: null, timedOut: false }), 42);
  t.equal(recordExitCode({ code: null, signal: 'SIGKILL', timedOut: false }), 137);
  t.equal(recordExitCode({ code: null, signal: 'SIGTERM', timedOut: true }), 124);
  t.equal(recordExitCode({ code: 0, signal: null, timedOut: true }), 124);
  t.equal(signalExitCode('SIGRTMIN+1'), 128 + 35);
  t.equal(errorExitCode('not_found'), 127);
  t.equal(errorExitCode('interpreter_not_found'), 127);
  t.equal(errorExitCode('not_executable'), 126);
  t.equal(errorExitCode('permission_denied'), 126);
  t.equal(errorExitCode('line_closed'), 125);
  t.end();
});

t.test("a guest's text cannot steer the terminal", (t) => {
  t.equal(
    harmless('no such\tcommand:\n\u001b]0;title\u0007 \u009b31m \u202e ü'),
    'no such\tcommand:\n\\x1b]0;title\\x07 \\x9b31m \\x202e ü',
  );
  t.end();
});

t.test('detach keys are written as docker writes them', (t) => {
  t.same([...parseDetachKeys('ctrl-p,ctrl-q')], [16, 17]);
  t.same(
    [...parseDetachKeys('a,ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_,DEL,Z')],
    [97, 0, 27, 28, 29, 30, 31, 127, 90],
  );
  t.same([...parseDetachKeys('CTRL-A')], [1]);
  t.same([...parseDetachKeys('')], [], 'none at all');
  refused(t, parseDetachKeys, ['ctrl-', 'ctrl-1', 'ab', 'a,,b', 'ctrl-p,', '\u00e9', 'alt-x']);
  t.end();
});

/** What passes of these pieces, one after the other, and whether the keys were typed. */
function typed(keys: string, ...pieces: string[]): [passed: string, detach: boolean, held: boolean] {
  const filter = new DetachKeyFilter(Buffer.from(keys));
  let passed = '';
  for (const piece of pieces) {
    const result = filter.push(Buffer.from(piece));
    passed += Buffer.from(result.passed).toString();
    if (result.detach) return [passed, true, filter.holds];
  }
  return [passed, false, filter.holds];
}

t.test('the detach keys are found wherever they are, and nothing else is lost', (t) => {
  t.same(typed('PQ', 'abPQcd'), ['ab', true, false], 'what follows them is nobody’s');
  t.same(typed('PQ', 'abP', 'Q'), ['ab', true, false], 'in two pieces');
  t.same(
    typed('PQ', 'P', 'x', 'PP', 'Q'),
    ['PxP', true, false],
    'a beginning that does not go on is passed on',
  );
  t.same(typed('PQ', 'aP'), ['a', false, true], 'and held back until that is known');
  t.same(typed('aab', 'aaab'), ['a', true, false], 'keys that begin like their own rest');
  t.same(typed('ababac', 'abababac'), ['ab', true, false]);
  t.same(typed('ababac', 'ababx', 'ababac'), ['ababx', true, false]);
  t.same(typed('', 'PQ'), ['PQ', false, false], 'no keys: everything passes');
  const filter = new DetachKeyFilter(Buffer.from('PQR'));
  filter.push(Buffer.from('PQ'));
  t.equal(Buffer.from(filter.release()).toString(), 'PQ', 'a sequence that is given up is passed on');
  t.same(Buffer.from(filter.push(Buffer.from('R')).passed).toString(), 'R');
  t.end();
});

t.test('what becomes of a session, and how much is kept of it', (t) => {
  t.same(parseOnDisconnect('keep'), { action: 'keep' });
  t.same(parseOnDisconnect('terminate'), { action: 'terminate' });
  t.same(parseOnDisconnect('kill:30s'), { action: 'kill', afterMs: 30_000 });
  refused(t, parseOnDisconnect, ['', 'stop', 'keep:1s', 'kill:1s:2s']);
  for (const text of ['kill:', 'kill:5']) t.throws(() => parseOnDisconnect(text), { name: 'BadValue' });
  t.equal(parseBytes('0'), 0);
  t.equal(parseBytes('65536'), 65_536);
  t.equal(parseBytes('64K'), 65_536);
  t.equal(parseBytes('2M'), 2_097_152);
  refused(t, parseBytes, ['', 'K', '1G', '1k', '-1', '1.5M', '99999999999999999999']);
  t.end();
});
