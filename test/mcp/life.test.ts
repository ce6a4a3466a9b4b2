import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { eventually, gone } from '../semantics/lines.js';
import { type RunningAgent, startAgent } from '../support/agentd.js';
import { CuttableProxy } from '../support/cuttable-proxy.js';
import { hawser, Model } from './model.js';

/** Has the server run a command that does not end. @returns the call, and the pid of the command. */
async function running(
  model: Model,
  folder: string,
  signal?: AbortSignal,
): Promise<{ call: Promise<unknown>; pid: number }> {
  const file = join(folder, `${performance.now()}.pid`);
  const command = `echo $$ > ${file}.new; mv ${file}.new ${file}; exec sleep 1000`;
  const call = model.call('exec', { command }, signal);
  call.catch(() => {});
  await eventually(() => existsSync(file));
  return { call, pid: Number(readFileSync(file, 'utf8')) };
}

async function startServer(t: Test, args: readonly string[] = []): Promise<[RunningAgent, Model]> {
  const agentd = await startAgent({ args });
  const model = await Model.start(agentd.line);
  t.teardown(async () => {
    await model[Symbol.asyncDispose]();
    await agentd[Symbol.asyncDispose]();
  });
  return [agentd, model];
}

t.test('a call that is cancelled ends its command', async (t) => {
  const [agentd, model] = await startServer(t);
  const cancel = new AbortController();
  const { call, pid } = await running(model, agentd.folder, cancel.signal);
  cancel.abort(new Error('not any more'));
  await t.rejects(call, /not any more/);
  await gone(pid);
  t.same(await model.list({ state: 'running' }, 0), []);
});

t.test('a request that the client gives up ends its command', async (t) => {
  const [agentd, model] = await startServer(t);
  const file = join(agentd.folder, 'pid');
  const call = model.client.callTool(
    { name: 'exec', arguments: { command: `echo $$ > ${file}; exec sleep 1000` } },
    undefined,
    { timeout: 2_000 },
  );
  await t.rejects(call, /timed out/i);
  // On a slow machine it may have been cancelled before it began.
  if (existsSync(file)) await gone(Number(readFileSync(file, 'utf8')));
  t.equal((await model.call('exec', { command: 'echo on' }))['exitCode'], 0, 'the server goes on');
});

t.test('a client that ends takes with it what exec runs, and leaves what it started', async (t) => {
  const agentd = await startAgent();
  t.teardown(() => agentd[Symbol.asyncDispose]());
  let processId: string;
  {
    const model = await Model.start(agentd.line);
    const server = model.pid;
    const { pid } = await running(model, agentd.folder);
    processId = await model.start({ command: 'cat; echo done', name: 'stays' });
    await model.call('write_process_input', { processId, text: 'kept\n' });
    await model[Symbol.asyncDispose]();
    await gone(pid, server);
    t.equal(model.stderr, '');
  }
  await using model = await Model.start(agentd.line);
  t.match(await model.call('list_processes', { state: 'running' }), {
    processes: [{ processId, name: 'stays' }],
  });
  t.equal(await model.readUntil(processId, /kept\n/), 'kept\n', 'what was written had come to it');
  await model.call('write_process_input', { processId, text: 'more\n', end: true });
  t.equal(await model.readUntil(processId, /done\n/), 'kept\nmore\ndone\n', 'and it is written to again');
});

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  t.test(`${signal} ends the server in order`, async (t) => {
    const agentd = await startAgent();
    t.teardown(() => agentd[Symbol.asyncDispose]());
    const server = spawn(process.execPath, [hawser, 'mcp', agentd.line], { stdio: ['pipe', 'pipe', 'pipe'] });
    const file = join(agentd.folder, 'pid');
    const exec = { command: `echo $$ > ${file}.new; mv ${file}.new ${file}; exec sleep 1000` };
    for (const message of [
      {
        id: 1,
        method: 'initialize',
        params: {
          protocolVersion: '2025-06-18',
          capabilities: {},
          clientInfo: { name: 'test', version: '1' },
        },
      },
      { method: 'notifications/initialized' },
      { id: 2, method: 'tools/call', params: { name: 'exec', arguments: exec } },
    ])
      server.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
    await eventually(() => existsSync(file));
    server.kill(signal);
    t.same(await once(server, 'exit'), [0, null]);
    await gone(Number(readFileSync(file, 'utf8')));
  });
}

t.test('a server that is killed leaves nothing of exec running', async (t) => {
  const [agentd, model] = await startServer(t, ['--resume-grace-ms', '200']);
  const { pid } = await running(model, agentd.folder);
  process.kill(model.pid, 'SIGKILL');
  await gone(pid);
  t.pass('its agent has killed it');
});

t.test('a line that is lost is opened again, and calls go on', async (t) => {
  const agentd = await startAgent();
  const path = join(agentd.folder, 'proxy.sock');
  await using proxy = await CuttableProxy.listen(path, agentd.line.slice('unix:'.length));
  await using model = await Model.start(proxy.line);
  t.teardown(() => agentd[Symbol.asyncDispose]());
  const file = join(agentd.folder, 'go');
  const call = model.call('exec', { command: `while [ ! -e ${file} ]; do sleep 0.02; done; echo here` });
  const processId = await model.start({
    command: `echo one; while [ ! -e ${file} ]; do sleep 0.02; done; echo two`,
  });
  await model.readUntil(processId, /one/);
  proxy.cut();
  await model.call('exec', { argv: ['touch', file] });
  t.match(await call, { exitCode: 0, stdout: { text: 'here\n' } });
  t.equal(await model.readUntil(processId, /two\n/), 'one\ntwo\n');
  t.ok(proxy.connections >= 2);
});

t.test('while the line is lost nothing is begun that its caller does not hear of', async (t) => {
  const agentd = await startAgent();
  const path = join(agentd.folder, 'proxy.sock');
  await using proxy = await CuttableProxy.listen(path, agentd.line.slice('unix:'.length));
  await using model = await Model.start(proxy.line);
  t.teardown(() => agentd[Symbol.asyncDispose]());
  proxy.refusing = true;
  proxy.cut();
  const file = join(agentd.folder, 'begun');
  await eventually(() => /is lost, and is being resumed/.test(model.stderr));
  const cancel = new AbortController();
  const call = model.call('exec', { argv: ['touch', file] }, cancel.signal);
  call.catch(() => {});
  cancel.abort();
  await t.rejects(call);
  proxy.refusing = false;
  await model.call('exec', { command: 'true' });
  t.notOk(existsSync(file));
  t.match(model.stderr, /connected again/);
});

t.test('an agent that is gone is said by every tool', async (t) => {
  const agentd = await startAgent({ args: ['--resume-grace-ms', '300'] });
  t.teardown(() => agentd[Symbol.asyncDispose]());
  await using model = await Model.start(agentd.line);
  const { call } = await running(model, agentd.folder);
  agentd.child.kill('SIGKILL');
  await t.rejects(call);
  let text = '';
  // Until it is known that it does not come back.
  while (!text.startsWith('connection_lost')) text = await model.refused('list_processes');
  t.match(text, /^connection_lost: the connection to the guest is over: .*\n.*start this server again/);
  t.match(await model.refused('exec', { command: 'true' }), /^connection_lost/);
  await eventually(() => /the connection is over/.test(model.stderr));
});

t.test('a server that reaches no agent says so and ends', async (t) => {
  const child = spawn(process.execPath, [hawser, 'mcp', `unix:${t.testdir()}/none.sock`], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (text: Buffer) => (stdout += String(text)));
  child.stderr.on('data', (text: Buffer) => (stderr += String(text)));
  t.same(await once(child, 'close'), [125, null]);
  t.match(stderr, /^hawser: .*none\.sock/);
  t.equal(stdout, '', 'nothing that the client would take for the protocol');
});

t.test('a client that is gone before there is a connection ends the server', async (t) => {
  const child = spawn(process.execPath, [hawser, 'mcp', 'exec:sleep 1000'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.end();
  t.same(await once(child, 'exit'), [0, null]);
});

t.test('without its packages the program says which to install', async (t) => {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  // Not below the repository, whose packages would be found.
  const folder = mkdtempSync(join(tmpdir(), 'hawser-mcp-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const modules = join(folder, 'node_modules');
  const own = join(modules, '@hawser/host-client');
  mkdirSync(own, { recursive: true });
  for (const part of ['bin', 'dist', 'package.json'])
    cpSync(join(root, 'host-client', part), join(own, part), { recursive: true });
  symlinkSync(join(root, 'protocol'), join(modules, '@hawser/protocol'));
  symlinkSync(join(root, 'node_modules/commander'), join(modules, 'commander'));
  const child = spawn(process.execPath, [join(own, 'bin/hawser.js'), 'mcp', 'local:'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (text: Buffer) => (stderr += String(text)));
  t.same(await once(child, 'close'), [125, null]);
  t.match(stderr, /npm install @modelcontextprotocol\/sdk zod/);
});
