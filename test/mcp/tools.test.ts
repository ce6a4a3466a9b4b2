import t from 'tap';
import { gone, isAlive } from '../semantics/lines.js';
import { startAgent } from '../support/agentd.js';
import { type Answer, Model, toolNames } from './model.js';

const agentd = await startAgent();
const model = await Model.start(agentd.line);
t.teardown(async () => {
  await model[Symbol.asyncDispose]();
  await agentd[Symbol.asyncDispose]();
});

t.test('tools say what they are for, what they take and what they give', async (t) => {
  t.equal(model.client.getServerVersion()?.name, 'hawser');
  t.match(model.client.getInstructions(), /start_process/);
  const { tools } = await model.client.listTools();
  t.same(
    tools.map(({ name }) => name),
    toolNames,
  );
  for (const { name, title, description, inputSchema, outputSchema, annotations } of tools) {
    t.ok(title && description && description.length > 100, name);
    t.match(inputSchema, { type: 'object', additionalProperties: false }, 'a misspelt argument is refused');
    t.ok(outputSchema);
    t.equal(annotations?.readOnlyHint, !/^(exec|start|write|kill)/.test(name), `${name} reads only or not`);
  }
});

t.test('exec says how a command ended and what it wrote', async (t) => {
  t.match(await model.call('exec', { command: 'echo out; echo err >&2; exit 3' }), {
    exitCode: 3,
    signal: null,
    timedOut: false,
    stdout: { encoding: 'utf8', text: 'out\n', totalBytes: 4, nextCursor: null },
    stderr: { text: 'err\n' },
    processId: null,
  });
  t.match(
    await model.call('exec', {
      argv: ['sh', '-c', 'cat; pwd; echo "$GREETING $0"', '$HOME'],
      input: 'grüße\n',
      cwd: '/usr',
      env: { GREETING: 'ahoy' },
    }),
    { exitCode: 0, stdout: { text: 'grüße\n/usr\nahoy $HOME\n' } },
    'words are passed as they are',
  );
  t.match(await model.call('exec', { command: 'kill -SEGV $$' }), { exitCode: null, signal: 'SIGSEGV' });
  t.match(await model.call('exec', { command: 'id -u', user: '12345' }), { stdout: { text: '12345\n' } });
  t.same(await model.list({}, 0), [], 'nothing is left of them');
});

t.test('exec ends what takes too long, and what is left in the background', async (t) => {
  t.match(await model.call('exec', { command: 'echo begun; sleep 1000', timeoutMs: 2_000 }), {
    exitCode: null,
    signal: 'SIGTERM',
    timedOut: true,
    stdout: { text: 'begun\n' },
  });
  const left = await model.call('exec', {
    command: 'sleep 1000 & echo $!; setsid sleep 1000 >/dev/null 2>&1 & echo $!',
  });
  t.match(left, { exitCode: 0, backgroundKilled: 2 });
  await gone(...(left['stdout'] as { text: string }).text.trim().split('\n').map(Number));
});

t.test('a process is started, talked to, waited for and listed', async (t) => {
  const processId = await model.start({
    command: 'while read -r line; do echo "got $line"; done; echo bye; exit 4',
    name: 'echo',
  });
  t.match(await model.call('write_process_input', { processId, text: 'a\nb\n' }), {
    writtenBytes: 4,
    queuedBytes: 0,
    stdinClosed: false,
  });
  t.equal(await model.readUntil(processId, /b\n/), 'got a\ngot b\n');
  t.match(
    await model.call('wait_for_process', { processId, timeoutMs: 50 }),
    { stillRunning: true, state: 'running', exitCode: null, name: 'echo' },
    'the end of the time is no error',
  );
  t.match(await model.call('list_processes', { state: 'running', name: 'echo' }), {
    processes: [{ processId, name: 'echo', state: 'running', command: /^while read/ }],
  });
  await model.call('write_process_input', { processId, base64: Buffer.from('c\n').toString('base64') });
  await model.call('write_process_input', { processId, text: 'd\n', end: true });
  t.match(await model.call('wait_for_process', { processId }), {
    stillRunning: false,
    state: 'exited',
    exitCode: 4,
    stdoutBytes: 28,
  });
  t.match(
    await model.call('read_process_output', { processId, cursor: 12, waitMs: 20_000 }),
    { text: 'got c\ngot d\nbye\n', nextCursor: 28, ended: true, moreBytes: 0, state: 'exited' },
    'also when it has ended',
  );
  t.match(await model.call('wait_for_process', { processId }), { exitCode: 4 }, 'and again');
  t.same((await model.call('list_processes', { state: 'running', name: 'echo' }))['processes'], []);
});

t.test('lists come in pages', async (t) => {
  const ids: string[] = [];
  for (let n = 0; n < 5; n += 1) ids.push(await model.start({ argv: ['true'], name: 'page' }));
  const found: unknown[] = [];
  let cursor: unknown;
  let pages = 0;
  do {
    const page: Answer = await model.call('list_processes', {
      name: 'page',
      limit: 2,
      ...(cursor !== undefined && { cursor }),
    });
    found.push(...(page['processes'] as Answer[]).map(({ processId }) => processId));
    cursor = page['nextCursor'];
    pages += 1;
  } while (cursor !== null);
  t.same(found, ids);
  t.equal(pages, 3);
});

t.test('statistics are of one, with its members, or of all', async (t) => {
  const busy = await model.start({ command: "sh -c 'echo up; while :; do :; done' & exec sleep 1000" });
  await model.readUntil(busy, /up/);
  const idle = await model.start({ argv: ['sleep', '1000'] });
  const one = await model.call('process_stats', { processId: busy, limit: 1 });
  t.match(one, { processes: [{ processId: busy, memberCount: 2 }], omitted: 1 });
  t.equal((one['members'] as unknown[]).length, 1, 'no more than limit');
  const [usage] = one['processes'] as [{ cpuPercent: number; memoryBytes: number }];
  t.type(usage.cpuPercent, 'number');
  t.ok(usage.memoryBytes > 0);
  const both = await model.call('process_stats', { processId: busy });
  const members = both['members'] as { pid: number; parentPid: number; command: string }[];
  t.equal(members.length, 2);
  const child = members.find(({ command }) => command.startsWith('sh -c echo up'));
  t.ok(members.some(({ pid }) => pid === child?.parentPid));
  const all = await model.call('process_stats', { sampleMs: 0 });
  t.equal(all['members'], null);
  const ids = (all['processes'] as Answer[]).map(({ processId }) => processId);
  t.ok(ids.includes(busy) && ids.includes(idle));
  for (const processId of [busy, idle])
    t.match(await model.call('kill_process', { processId }), { gone: true });
});

t.test('kill_process ends a tree, by force where it has to', async (t) => {
  const stubborn = await model.start({
    command: "trap '' TERM; sleep 1000 & echo $!; while :; do wait; done",
  });
  const child = Number(await model.readUntil(stubborn, /\n/));
  t.match(await model.call('kill_process', { processId: stubborn, waitMs: 200 }), {
    gone: true,
    forced: true,
    state: 'signaled',
    signal: 'SIGKILL',
  });
  t.notOk(isAlive(child), 'its child, too');
  t.match(
    await model.call('kill_process', { processId: stubborn }),
    { gone: true, forced: false },
    'again is no error',
  );

  const kind = await model.start({ command: "trap 'exit 7' TERM; echo up; while :; do sleep 0.02; done" });
  await model.readUntil(kind, /up/);
  t.match(await model.call('kill_process', { processId: kind, waitMs: 20_000 }), {
    gone: true,
    forced: false,
    state: 'exited',
    exitCode: 7,
  });
});

t.test('kill_process sends the one signal that is named, to all or to one', async (t) => {
  const processId = await model.start({
    command: "trap 'echo usr1' USR1; sleep 1000 & echo $!; while :; do wait; done",
  });
  const child = Number(await model.readUntil(processId, /\n/));
  t.match(await model.call('kill_process', { processId, signal: 'usr1', tree: false, waitMs: 0 }), {
    gone: false,
    forced: false,
    state: 'running',
  });
  await model.readUntil(processId, /usr1/);
  t.ok(isAlive(child), 'the others are left alone');
  t.match(await model.call('kill_process', { processId, signal: 'KILL', tree: false, waitMs: 20_000 }), {
    gone: true,
    signal: 'SIGKILL',
  });
  t.ok(isAlive(child));
  t.match(await model.call('kill_process', { processId, signal: 'SIGKILL', waitMs: 20_000 }), { gone: true });
  t.notOk(isAlive(child));
});

t.test('errors say what was wrong and what to do', async (t) => {
  const byId = [
    'process_stats',
    'read_process_output',
    'write_process_input',
    'wait_for_process',
    'kill_process',
  ];
  for (const name of byId) {
    const given = { processId: 'abc', ...(name.startsWith('write') && { text: 'x' }) };
    t.match(await model.refused(name, given), /no session "abc"\nCall list_processes/, name);
  }
  t.match(
    await model.refused('exec', { argv: ['no-such-program'] }),
    /^not_found: .*no-such-program.*\n.*command -v/,
  );
  t.match(
    await model.refused('start_process', { argv: ['true'], cwd: '/nowhere' }),
    /^cwd_not_found: .*"cwd"/s,
  );
  t.match(
    await model.refused('exec', { command: 'true', user: 'nobody-here' }),
    /^unknown_user: .*\/etc\/passwd/s,
  );
  t.match(await model.refused('exec'), /give "command".*or "argv"/);
  t.match(await model.refused('exec', { command: 'true', argv: ['true'] }), /give one of them/);
  t.match(await model.refused('exec', { command: 'true', timeout: 1 }), /exec: Unrecognized key: "timeout"/);
  t.match(await model.refused('exec', { command: 'true', timeoutMs: 'soon' }), /timeoutMs/);
  t.equal((await model.call('exec', { command: 'echo on' }))['exitCode'], 0, 'and all goes on');
});

t.test('input that nobody can read is refused, with a reason', async (t) => {
  const without = await model.start({ argv: ['sleep', '1000'], stdin: false });
  t.match(
    await model.refused('write_process_input', { processId: without, text: 'x' }),
    /was started without stdin: start it again with \{"stdin": true\}/,
  );
  t.match(await model.refused('write_process_input', { processId: without }), /give "text" or "base64"/);
  const ended = await model.start({ command: 'exit 3' });
  await model.call('wait_for_process', { processId: ended });
  t.match(
    await model.refused('write_process_input', { processId: ended, text: 'x' }),
    /has exited with code 3 and reads no more\nCall wait_for_process/,
  );
  t.match(await model.refused('process_stats', { processId: ended }), /^session_ended/);

  const closed = await model.start({ argv: ['sleep', '1000'] });
  await model.call('write_process_input', { processId: closed, end: true });
  t.match(
    await model.refused('write_process_input', { processId: closed, text: 'x' }),
    /was closed by an earlier call/,
  );

  const deaf = await model.start({ command: 'exec <&-; echo deaf; sleep 1000' });
  await model.readUntil(deaf, /deaf/);
  // The first write finds out, which is told by the next.
  let text = '';
  while (text === '') {
    text = await model.refused('write_process_input', { processId: deaf, text: 'x' }).catch(() => '');
  }
  t.match(text, /^stdin_closed: .*\(EPIPE\)\nSee with read_process_output/);
  for (const processId of [without, closed, deaf]) await model.call('kill_process', { processId });
});

t.test('what a process does not read waits for it, up to a limit', async (t) => {
  const slow = await model.start({
    command: 'trap "exec wc -c" USR1; echo up; while :; do sleep 0.02; done',
  });
  await model.readUntil(slow, /up/);
  const piece = 'x'.repeat(1024 * 1024);
  let refusal = '';
  let pieces = 0;
  for (; refusal === ''; pieces += 1) {
    const written = model.call('write_process_input', { processId: slow, text: piece });
    refusal = await written.then(
      () => '',
      (error: Error) => error.message,
    );
  }
  t.match(refusal, /limit_exceeded: .*does not read its stdin: \d+ bytes wait already/);
  await model.call('kill_process', { processId: slow, signal: 'USR1', tree: false, waitMs: 0 });
  await model.call('write_process_input', { processId: slow, end: true });
  t.match(
    await model.readUntil(slow, /\d+\n/),
    new RegExp(`^up\n${(pieces - 1) * piece.length}\n$`),
    'all that was taken has come',
  );
});
