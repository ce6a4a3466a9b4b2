import { createHash } from 'node:crypto';
import t from 'tap';
import { startAgent } from '../support/agentd.js';
import { type Answer, Model } from './model.js';

const agentd = await startAgent();
const model = await Model.start(agentd.line);
t.teardown(async () => {
  await model[Symbol.asyncDispose]();
  await agentd[Symbol.asyncDispose]();
});

/** Text whose characters have one to four bytes. */
const line = 'aß€😀 Ölfaß 漢字 🛟\n';

function bytesOf({ encoding, text }: Answer): Buffer {
  return Buffer.from(text as string, encoding as 'utf8' | 'base64');
}

/** Follows the cursors to the end. @returns every part. */
async function readOn(given: Answer): Promise<Answer[]> {
  const parts: Answer[] = [];
  let cursor: unknown = given['cursor'] ?? 0;
  for (;;) {
    const part = await model.call('read_process_output', { ...given, cursor, waitMs: 20_000 });
    parts.push(part);
    if (part['ended'] === true) return parts;
    cursor = part['nextCursor'];
  }
}

t.test('a long output is cut, and the rest is read by cursors', async (t) => {
  const script = `yes '${line.trim()}' | head -c 3000000; echo end >&2`;
  const whole = Buffer.from(line.repeat(3_000_000 / Buffer.byteLength(line) + 1)).subarray(0, 3_000_000);
  const answer = await model.call('exec', { command: script, maxOutputBytes: 1001 });
  const stdout = answer['stdout'] as Answer;
  const processId = answer['processId'];
  t.equal(stdout['totalBytes'], 3_000_000);
  t.ok((stdout['nextCursor'] as number) <= 1001);
  t.match(answer['stderr'], { text: 'end\n', nextCursor: null });
  const parts = await readOn({ processId, cursor: stdout['nextCursor'], maxBytes: 654_321 });
  t.ok(parts.length >= 5);
  t.same(
    parts.map((part) => part['missingBytes']),
    parts.map(() => 0),
  );
  const all = Buffer.concat([bytesOf(stdout), ...parts.map(bytesOf)]);
  const hash = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
  t.equal(hash(all), hash(whole), 'every byte, once');
  t.equal((await model.call('exec', { command: 'echo short' }))['processId'], null);
  t.match(
    await model.list({}, 1),
    [{ processId, state: 'exited', stdoutBytes: 3_000_000 }],
    'only what was cut is kept',
  );
});

t.test('no answer ends, or begins, within a character', async (t) => {
  const processId = await model.start({ argv: ['printf', '%s', line.repeat(12)] });
  await model.call('wait_for_process', { processId });
  for (const maxBytes of [4, 5, 6, 7, 11]) {
    const parts = await readOn({ processId, maxBytes });
    t.ok(parts.every(({ encoding }) => encoding === 'utf8'));
    t.equal(parts.map(({ text }) => text).join(''), line.repeat(12), `in pieces of ${maxBytes} bytes`);
  }
  const totalBytes = Buffer.byteLength(line.repeat(12));
  for (let back = 1; back <= 12; back += 1) {
    const part = await model.call('read_process_output', { processId, cursor: -back });
    const text = part['text'] as string;
    t.equal(part['encoding'], 'utf8');
    t.ok(line.endsWith(text) && !text.includes('\uFFFD'), `the last ${back} bytes: ${text}`);
    t.equal(part['from'], totalBytes - Buffer.byteLength(text), 'from where it begins');
  }
  t.match(
    await model.refused('read_process_output', { processId, cursor: totalBytes + 1 }),
    new RegExp(`behind the end of stdout, which has ${totalBytes} bytes: use the nextCursor`),
  );
  t.match(await model.call('exec', { argv: ['printf', '%s', '漢'.repeat(100)], maxOutputBytes: 100 }), {
    stdout: { text: '漢'.repeat(33), nextCursor: 99, totalBytes: 300 },
  });
});

t.test('a character that comes in two pieces is waited for', async (t) => {
  const processId = await model.start({ command: "printf '\\342\\202'; read -r go; printf '\\254\\n'" });
  // Until both bytes are there.
  let known: Answer | undefined;
  while (known?.['stdoutBytes'] !== 2)
    [known] = (await model.call('list_processes', { state: 'running' }))['processes'] as [Answer];
  t.match(await model.call('read_process_output', { processId, waitMs: 10 }), {
    text: '',
    nextCursor: 0,
    moreBytes: 0,
    ended: false,
  });
  const reading = model.call('read_process_output', { processId, waitMs: 20_000 });
  await model.call('write_process_input', { processId, text: 'go\n' });
  t.match(await reading, { encoding: 'utf8', text: '€\n', nextCursor: 4 });
});

t.test('a reader waits for what comes, and hears of the end', async (t) => {
  const processId = await model.start({ command: 'read -r a; echo "$a"; read -r b' });
  t.match(await model.call('read_process_output', { processId }), {
    text: '',
    ended: false,
    state: 'running',
  });
  const first = model.call('read_process_output', { processId, waitMs: 20_000 });
  await model.call('write_process_input', { processId, text: 'one\n' });
  t.match(await first, { text: 'one\n', nextCursor: 4, ended: false });
  const last = model.call('read_process_output', { processId, cursor: 4, waitMs: 20_000 });
  await model.call('write_process_input', { processId, end: true });
  t.match(await last, { text: '', nextCursor: 4, ended: true });
});

t.test('binary output is base64, and text where that is asked for', async (t) => {
  const command = String.raw`printf 'caf\351 \000'`;
  t.match(await model.call('exec', { command }), {
    stdout: { encoding: 'base64', text: Buffer.from('caf\xe9 \0', 'latin1').toString('base64') },
  });
  t.match(await model.call('exec', { command, encoding: 'text' }), {
    stdout: { encoding: 'utf8', text: 'caf\uFFFD \0' },
  });
  const processId = await model.start({ command: 'head -c 100000 /dev/urandom | tee /dev/stderr' });
  const read = async (stream: string, maxBytes: number): Promise<Buffer> =>
    Buffer.concat((await readOn({ processId, stream, maxBytes })).map(bytesOf));
  t.same(await read('stdout', 997), await read('stderr', 32_768), 'no byte is lost between the parts');
});

t.test('bytes that are not kept any more are told', async (t) => {
  const processId = await model.start({
    command: "yes 漢字 | head -c 8000002; printf '\\nend\\n'",
    historyBytes: 4096,
  });
  await model.call('wait_for_process', { processId });
  const part = await model.call('read_process_output', { processId, maxBytes: 1000 });
  const from = part['from'] as number;
  t.ok(from > 0);
  t.equal(part['missingBytes'], from);
  t.match(part, { encoding: 'utf8', ended: false });
  t.match(part['text'], /^[漢字\n]+$/u);
  const end = await model.call('read_process_output', { processId, cursor: -5 });
  t.match(end, { text: '\nend\n', missingBytes: 0, ended: true });
});
