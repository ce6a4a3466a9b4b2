import t, { type Test } from 'tap';
import { BadValue } from '../src/cli/bad-value.js';
import { compactAge, compactBytes, compactCpuTime } from '../src/cli/compact-amount.js';
import { cutToWidth, displayWidth } from '../src/cli/display-width.js';
import { everySession, parseFilter } from '../src/cli/parse-filter.js';
import { parsePositions } from '../src/cli/parse-positions.js';
import { processForest } from '../src/cli/process-forest.js';
import { toJson } from '../src/cli/report.js';
import { commandText, processText, stateText } from '../src/cli/session-cells.js';
import { tableLines } from '../src/cli/table.js';
import { topLines } from '../src/cli/top-screen.js';
import { sortedUsages, type Usage, usages } from '../src/cli/usage.js';
import type { SessionInfo, SessionProcess, StatsSample } from '../src/index.js';

const MiB = 1024 ** 2;

t.test('amounts take five characters at most', (t) => {
  const bytes = [0, 999, 1000, 1536, 10_189, 1023 * 1024, 12 * MiB, 3 * 1024 * MiB];
  t.same(bytes.map(compactBytes), ['0B', '999B', '1.0K', '1.5K', '10K', '1.0M', '12M', '3.0G']);
  for (let bits = 0; bits < 53; bits++)
    for (const near of [-1, 0, 1]) t.ok(compactBytes(Math.max(0, 2 ** bits + near)).length <= 5);
  const ages = [-5, 0, 59_999, 60_000, 3_661_000, 90_000_000, 400 * 86_400_000];
  t.same(ages.map(compactAge), ['0s', '0s', '59s', '1m0s', '1h1m', '1d1h', '400d0h']);
  t.same([0, 5_000, 9_994_000, 9_996_000, 61e6].map(compactCpuTime), [
    '0.00s',
    '0.01s',
    '9.99s',
    '10.0s',
    '1m1s',
  ]);
  t.end();
});

t.test('text is cut by the columns that it takes', (t) => {
  t.same(['abc', 'ä', 'e\u0301', '漢字', '🚀', ''].map(displayWidth), [3, 1, 1, 4, 2, 0]);
  t.equal(cutToWidth('abcdef', 6), 'abcdef');
  t.equal(cutToWidth('abcdef', 5), 'abcd…');
  t.equal(cutToWidth('漢字漢字', 6), '漢字…', 'no half of a character');
  t.equal(cutToWidth('abc', 1), '…');
  t.equal(cutToWidth('abc', 0), '');
  t.end();
});

t.test('a table fits: its last columns are narrowed first, then lines are cut', (t) => {
  const columns = [
    { title: 'A' },
    { title: 'NAME', narrowest: 6 },
    { title: 'N', align: 'right' },
    { title: 'WORDS', narrowest: 5 },
  ] as const;
  const rows = [
    ['1', 'a long name', '7', 'many many words'],
    ['22', 'b', '10', ''],
  ];
  t.same(tableLines(columns, rows), [
    'A   NAME          N  WORDS',
    '1   a long name   7  many many words',
    '22  b            10',
  ]);
  t.same(tableLines(columns, rows, 30), [
    'A   NAME          N  WORDS',
    '1   a long name   7  many man…',
    '22  b            10',
  ]);
  t.same(tableLines(columns, rows, 22), [
    'A   NAME      N  WORDS',
    '1   a long…   7  many…',
    '22  b        10',
  ]);
  for (const columnsMax of [1, 5, 15, 22, 29])
    for (const line of tableLines(columns, rows, columnsMax)) t.ok(displayWidth(line) <= columnsMax);
  t.end();
});

t.test('states and commands are told as users write them', (t) => {
  const exit = (code: number | null, signal: string | null) => ({ code, signal }) as SessionInfo['exit'];
  t.equal(stateText({ state: 'running', exit: null }), 'running');
  t.equal(stateText({ state: 'exited', exit: exit(3, null) }), 'exited 3');
  t.equal(stateText({ state: 'signaled', exit: exit(null, 'SIGTERM') }), 'killed SIGTERM');
  t.equal(stateText({ state: 'unknown', exit: exit(null, null) }), 'unknown');
  const command = ['sh', '-c', "echo 'a'\n\t\x1b[2J\u202e", '', new Uint8Array([0x61, 0xff, 0x0a])];
  const text = String.raw`sh -c 'echo '\''a'\''\n\t\x1b[2J\x202e' '' 'a\xff\n' …`;
  t.equal(commandText({ command, commandCut: true }), text);
  t.equal(processText({ name: 'kw\n', command: [] as string[] } as SessionProcess), String.raw`[kw\n]`);
  t.end();
});

const process = (pid: number, parentPid: number, startedAtUs = pid) =>
  ({ pid, parentPid, startedAtUs }) as SessionProcess;

t.test('processes are drawn below their parents', (t) => {
  const drawn = (processes: readonly SessionProcess[]): string[] =>
    processForest(processes).map(({ branch, process: { pid } }) => `${branch}${pid}`);
  t.same(drawn([process(7, 5), process(5, 1), process(9, 7), process(6, 5), process(3, 2, 100)]), [
    '├─ 5',
    '│  ├─ 6',
    '│  └─ 7',
    '│     └─ 9',
    '└─ 3',
  ]);
  t.same(drawn([process(5, 5)]), ['└─ 5'], 'one that says it is its own parent');
  const deep = Array.from({ length: 5_000 }, (_, n) => process(n + 2, n + 1));
  t.equal(drawn(deep).length, 5_000);
  t.end();
});

function refused(t: Test, parse: (text: string) => unknown, texts: readonly string[]) {
  for (const text of texts) t.throws(() => parse(text), BadValue, JSON.stringify(text));
}

t.test('filters add up', (t) => {
  const filters = ['label=a=1=2', 'label=b', 'state=exited', 'state=unknown', 'label=c='];
  t.same(
    filters.reduce((before, text) => parseFilter(text, before), everySession),
    {
      labels: { a: '1=2', c: '' },
      labelled: ['b'],
      states: ['exited', 'unknown'],
    },
  );
  refused(t, parseFilter, [
    '',
    'label',
    'label=',
    'label==a',
    'state=',
    'state=dead',
    'state=exited=3',
    'name=a',
  ]);
  t.end();
});

t.test('positions are of one output or both', (t) => {
  t.same(parsePositions('10'), { stdout: 10 });
  t.same(parsePositions('10:20'), { stdout: 10, stderr: 20 });
  t.same(parsePositions(':0'), { stderr: 0 });
  refused(t, (text) => parsePositions(text), ['', ':', '1:', '-1', '1:2:3', '1k', '9007199254740993']);
  t.end();
});

t.test('JSON has dates, bytes and big numbers', (t) => {
  const value = {
    at: new Date(0),
    bytes: new Uint8Array([1, 255]),
    buffer: Buffer.from('a'),
    big: 2n ** 63n,
    n: 5n,
  };
  t.same(JSON.parse(toJson(value)), {
    at: '1970-01-01T00:00:00.000Z',
    bytes: { base64: 'Af8=' },
    buffer: { base64: 'YQ==' },
    big: '9223372036854775808',
    n: 5,
  });
  t.equal(toJson([1], 2), '[\n  1\n]');
  t.end();
});

const sample = (atMs: number, cpuUs: Readonly<Record<string, number>>): StatsSample => ({
  at: new Date(atMs),
  sessions: Object.entries(cpuUs).map(([id, cpuUserUs]) => ({
    id,
    confidence: 'exact',
    processes: 1,
    cpuUserUs,
    cpuSystemUs: 0,
    memoryBytes: 0,
  })),
  omitted: 0,
});

t.test('processor use is that between two samples', (t) => {
  const percent = (...[now, before]: [StatsSample, StatsSample?]) =>
    usages(now, before, new Map()).map(({ cpuPercent }) => cpuPercent);
  const before = sample(1_000, { a: 500_000, b: 0, c: 900_000 });
  t.same(percent(before), [undefined, undefined, undefined]);
  t.same(percent(sample(3_000, { a: 1_500_000, b: 4_000_000, c: 0, d: 7 }), before), [50, 200, 0, undefined]);
  t.same(percent(sample(1_000, { a: 600_000 }), before), [undefined], 'a clock that stands still');
  t.same(percent(sample(0, { a: 600_000 }), before), [undefined], 'or was set back');
  t.end();
});

const usage = (name: string, cpuPercent: number | undefined, memoryBytes = 0, processes = 1): Usage => ({
  id: `id-${name}`,
  generation: 1,
  name,
  command: `run ${name}`,
  cpuPercent,
  memoryBytes,
  peakBytes: undefined,
  processes,
});

t.test('sessions are sorted, the oldest first where they are equal', (t) => {
  const all = [usage('b', undefined, 5, 1), usage('', 0, 7, 2), usage('c', 0, 7, 2), usage('a', 9, 1, 1)];
  const names = (order: Parameters<typeof sortedUsages>[1]) =>
    sortedUsages(all, order).map(({ name }) => name);
  t.same(names('cpu'), ['a', '', 'c', 'b']);
  t.same(names('memory'), ['', 'c', 'b', 'a']);
  t.same(names('processes'), ['', 'c', 'b', 'a']);
  t.same(names('name'), ['a', 'b', 'c', '']);
  t.end();
});

t.test('a screen is filled and not exceeded, whatever its size', (t) => {
  const many = Array.from({ length: 40 }, (_, n) => usage(`session-${n}`, n, n * MiB, 2));
  const plain = (rows: number, cols: number, count = many.length, omitted = 0): string[] =>
    topLines(
      { title: 'hawser top', usages: many.slice(0, count), omitted, order: 'cpu' },
      { rows, cols },
    ).map((line) => line.replaceAll('\x1b[7m', '').replaceAll('\x1b[0m', ''));
  for (const [rows, cols] of [
    [1, 1],
    [3, 10],
    [5, 80],
    [6, 80],
    [24, 80],
    [60, 200],
  ] as const) {
    const lines = plain(rows, cols);
    t.equal(lines.length, rows);
    for (const line of lines) t.ok(displayWidth(line) <= cols, line);
  }
  const lines = plain(24, 80);
  t.equal(lines[1], '40 sessions, 80 processes, CPU 780.0 %, memory 780M, by CPU');
  t.match(lines[4], / session-39 +39\.0 /);
  t.equal(lines[22], 'and 22 more');
  t.equal(plain(24, 80, 19)[22]?.includes('session-0'), true, 'one that just fits is shown');
  t.equal(plain(24, 80, 19, 5)[22], 'and 6 more');
  t.match(
    topLines({ title: '', usages: undefined, omitted: 0, order: 'cpu' }, { rows: 24, cols: 80 })[1],
    /waiting/,
  );
  t.end();
});
