import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connect } from '@hawser/host-client';
import {
  encodeFrame,
  FrameDecoder,
  frameFlags,
  frameTypes,
  headerBytes,
  MessageCodec,
} from '@hawser/protocol';
import t from 'tap';
import { readConfig } from '../../agentd/src/config.js';
import { compile, descendantsOf, isAlive, MiB, numbers, until } from '../load/world.js';
import { type RunningAgent, startAgent } from '../support/agentd.js';

const agentProgram = fileURLToPath(new URL('../../agentd/dist/hawser-agentd.cjs', import.meta.url));
const tooling = fileURLToPath(new URL('../../tooling/typescript.mjs', import.meta.url));
const load = compile(t, 'load-pattern');

interface Ended {
  code: number | null;
  text: string;
}

/** Runs the agent until it ends by itself. */
async function agentd(args: readonly string[]): Promise<Ended> {
  const child = spawn(process.execPath, [agentProgram, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, text };
}

t.test('configuration', async (t) => {
  await using running = await startAgent();
  const file = (name: string, content: unknown): string => {
    const path = join(running.folder, name);
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
    return path;
  };

  await t.test(
    'what is wrong is named with its source, its name and its value; the exit code is 2',
    async (t) => {
      const socket = `unix:${join(running.folder, 'x.sock')}`;
      const cases: [string[], RegExp[]][] = [
        [[], [/nothing to listen on/]],
        [['--listen', 'carrier-pigeon:7'], [/carrier-pigeon:7/]],
        [
          ['--listen', socket, '--sessions-max', 'many'],
          [/--sessions-max/, /many/],
        ],
        [
          ['--listen', socket, '--sessions-max', '0'],
          [/--sessions-max|sessionsMax/, /0/],
        ],
        [
          ['--listen', socket, '--log-level', 'loud'],
          [/--log-level|logLevel/, /loud/],
        ],
        [['--listen', socket, '--no-such-flag'], [/--no-such-flag/]],
        [
          ['--listen', socket, '--config', '/nowhere/config.json'],
          [/\/nowhere\/config\.json/, /ENOENT/],
        ],
        [
          ['--config', file('broken.json', '{"listen":')],
          [/broken\.json/, /JSON/],
        ],
        [
          ['--config', file('unknown.json', { listen: [socket], colour: 'red' })],
          [/unknown\.json/, /colour/],
        ],
        [
          ['--config', file('type.json', { listen: [socket], sessionsMax: 'many' })],
          [/type\.json/, /sessionsMax/, /many/],
        ],
      ];
      for (const [args, patterns] of cases) {
        const { code, text } = await agentd(args);
        t.equal(code, 2, args.join(' '));
        for (const pattern of patterns) t.match(text, pattern, args.join(' '));
        t.notMatch(text, /^\s+at /m, 'no stack');
      }
    },
  );

  await t.test('a flag goes before the file', async (t) => {
    const config = file('good.json', { sessionsMax: 7, token: 'from-file' });
    await using own = await startAgent({ args: ['--config', config, '--token', 'from-flag'] });
    await using agent = await own.connect({ token: 'from-flag' });
    t.equal((await agent.info()).sessionsMax, 7, 'what no flag says, the file does');
    await t.rejects(own.connect({ token: 'from-file' }), { code: 'rejected' });
  });

  await t.test('a flag goes before the kernel command line, and that before the file', async (t) => {
    const readFile = (): string => JSON.stringify({ sessionsMax: 1, windowBytes: 1, spoolBytesMax: 1 });
    const kernelCommandLine =
      'quiet hawser.listen=stdio:,vsock:7 hawser.window-bytes=2 hawser.spool-bytes-max=2 ro hawser.reap-orphans';
    const config = readConfig({
      args: ['--spool-bytes-max', '3', '--config', 'any'],
      kernelCommandLine,
      readFile,
    });
    const wanted = { sessionsMax: 1, windowBytes: 2, spoolBytesMax: 3, reapOrphans: true };
    t.match(config, { ...wanted, listen: ['stdio:', 'vsock:7'] });
    const wrong: [string, RegExp][] = [
      ['hawser.sessions-max=0', /kernel command line: hawser\.sessions-max=0/],
      ['hawser.log-level=loud', /kernel command line: hawser\.log-level=loud/],
      ['hawser.colour=red', /kernel command line: hawser\.colour=red/],
    ];
    for (const [word, message] of wrong) {
      const sources = { args: ['--listen', 'stdio:'], kernelCommandLine: word, readFile };
      t.throws(() => readConfig(sources), { code: 'invalid_config', message });
    }
    const token = {
      args: ['--listen', 'stdio:', '--config', 'any'],
      kernelCommandLine: '',
      readFile: () => '{"token": 4711}',
    };
    t.throws(() => readConfig(token), { message: /^any: token: (?!.*4711)/ }, 'a token is not shown');
  });

  await t.test('--help and --version', async (t) => {
    t.match(await agentd(['--help']), { code: 0, text: /--listen SPEC/ });
    t.match(await agentd(['--version']), { code: 0, text: /^\d+\.\d+\.\d+/ });
  });
});

t.test('a token: right, wrong and missing', async (t) => {
  for (const line of ['unix', 'pty'] as const) {
    await using running = await startAgent({ line, args: ['--token', 'open-sesame'] });
    await t.rejects(running.connect({ token: 'open-barley' }), { code: 'rejected' });
    await t.rejects(running.connect(), { code: 'rejected' });
    await using agent = await running.connect({ token: 'open-sesame' });
    t.equal((await agent.exec('echo', ['in'])).stdout, 'in\n');
    t.notMatch(running.log(), /open-/, 'no token is logged');
  }
});

t.test('the log never has what passes through: variables, stdin, output', async (t) => {
  await using running = await startAgent({ args: ['--log-level', 'debug'] });
  const agent = await running.connect();
  const secret = 'x5ecretx';
  const env = { TOKEN: secret };
  await agent.exec('sh', ['-c', 'cat; printenv TOKEN >&2'], { env, input: secret });
  await agent.exec('sh', ['-c', 'printenv TOKEN'], { env, tty: true });
  const bad: Record<string, string> = { '': secret };
  for (const options of [{ env: bad }, { env, cwd: '/nowhere' }, { env, user: 'nobody-at-all' }]) {
    await t.rejects(agent.exec('cat', [], { ...options, input: secret }));
  }
  await t.rejects(agent.exec('/nowhere/at/all', [], { env, input: secret }), { code: 'not_found' });
  await t.rejects(agent.exec('cat', [], { env: { TOKEN: `${secret}\0` } }));
  const session = await agent.spawn('sh', ['-c', 'printenv TOKEN; exec sleep 100'], { env });
  session.stdin?.write(secret);
  await once(session.stdout, 'readable');
  await agent.close();
  await send(running, Buffer.concat([Buffer.from(`garbage with ${secret} `), badHello(secret)]));
  await until('the session to be over', async () => {
    await using again = await running.connect();
    return (await again.info()).sessionsRunning === 0;
  });
  t.match(running.log(), /"level":20/, 'it was at debug level');
  t.notMatch(running.log(), secret);
  for (const text of running.log().trim().split('\n')) t.doesNotThrow(() => JSON.parse(text), text);
});

/** A `Hello` whose fields are not what they should be. */
function badHello(secret: string): Buffer {
  const payload = new MessageCodec().encode('Hello', { token: secret, generations: secret } as never);
  return Buffer.from(encodeFrame({ type: frameTypes.Hello.id, flags: frameFlags.CHECKED, payload }));
}

async function send(running: RunningAgent, bytes: Buffer): Promise<void> {
  const socket = createConnection(running.line.slice('unix:'.length));
  socket.on('error', () => {}).resume();
  socket.end(bytes);
  await once(socket, 'close');
}

for (const line of ['unix', 'pty'] as const) {
  t.test(`SIGTERM ends the agent in order, over ${line}`, async (t) => {
    await using running = await startAgent({ line });
    if (line === 'unix') t.equal(statSync(running.line.slice('unix:'.length)).mode & 0o777, 0o600);
    const agent = await running.connect();
    const polite = await agent.spawn('sleep', ['1000']);
    const trapping = await agent.spawn('sh', [
      '-c',
      'trap "echo bye; exit 7" TERM; echo up; while :; do sleep 0.05; done',
    ]);
    const stubborn = await agent.spawn(load, ['stubborn'], { killGraceMs: 200 });
    const terminal = await agent.spawn('sh', ['-c', 'sleep 1000 & sleep 1000'], { tty: true });
    for (const session of [trapping, stubborn]) await once(session.stdout, 'readable');
    const all = descendantsOf(running.pid);
    let output = '';
    trapping.stdout.on('data', (chunk) => (output += String(chunk)));
    const exited = once(running.child, 'exit');
    running.child.kill('SIGTERM');
    t.match(await polite.exited, { signal: 'SIGTERM', killedBy: 'shutdown' });
    t.match(await trapping.exited, { code: 7, killedBy: 'shutdown' });
    t.match(await stubborn.exited, { signal: 'SIGKILL', killedBy: 'shutdown' });
    t.match(await terminal.exited, { killedBy: 'shutdown' });
    t.match((await agent.closed).message, /./);
    t.same(await exited, [0, null]);
    t.match(output, /up\nbye\n/);
    await until('every process to be gone', () => !all.some(isAlive));
    if (line === 'unix') t.notOk(existsSync(running.line.slice('unix:'.length)), 'the socket file is gone');
    t.notMatch(running.log(), /internal error/);
  });

  t.test(`a host that is killed leaves no process of its sessions, over ${line}`, async (t) => {
    const grace = ['--resume-grace-ms', '500'];
    const beats = ['--heartbeat-interval-ms', '500', '--heartbeat-timeout-ms', '1500'];
    await using running = await startAgent({ line, args: line === 'pty' ? [...grace, ...beats] : grace });
    const host = await startHost(running.line);
    t.teardown(() => host.kill('SIGKILL'));
    await until('the sessions', () => descendantsOf(running.pid).length >= 5);
    const all = descendantsOf(running.pid);
    const gone = once(host, 'exit');
    host.kill('SIGKILL');
    await gone;
    if (line === 'pty') {
      // Nothing tells an agent at a serial line that its host is gone but the next host, or the silence.
      await using next = await running.connect();
      t.equal((await next.exec('echo', ['mine'])).stdout, 'mine\n', 'the second host takes the line over');
    }
    await until('every process to be gone', () => !all.some(isAlive));
    await using agent = await running.connect().catch(() => undefined as never);
    t.equal((await agent.info()).sessionsRunning, 0);
  });
}

t.test('the silence of a host on a serial line ends its sessions', async (t) => {
  await using running = await startAgent({
    line: 'pty',
    args: ['--heartbeat-interval-ms', '200', '--heartbeat-timeout-ms', '600', '--resume-grace-ms', '300'],
  });
  const host = await startHost(running.line);
  t.teardown(() => host.kill('SIGKILL'));
  await until('the sessions', () => descendantsOf(running.pid).length >= 5);
  const all = descendantsOf(running.pid);
  host.kill('SIGKILL');
  await until('every process to be gone', () => !all.some(isAlive));
  t.match(running.log(), /heartbeat_lost/);
});

/** Another process that is a host with five sessions: pipes, a terminal, a group, a busy one, one that ignores TERM. */
async function startHost(line: string): Promise<ChildProcess> {
  const script = `
    import { connect } from '@hawser/host-client';
    const agent = await connect(${JSON.stringify(line)});
    await agent.spawn('sleep', ['1000']);
    await agent.spawn('sleep', ['1000'], { tty: true });
    await agent.spawn('sh', ['-c', 'sleep 1000 & sleep 1000']);
    await agent.spawn(${JSON.stringify(load)}, ['stream', '1', '100000000000']);
    await agent.spawn(${JSON.stringify(load)}, ['stubborn'], { killGraceMs: 200 });
    process.stdout.write('running\\n');
  `;
  const args = ['--conditions=@hawser/source', `--import=${tooling}`, '--input-type=module', '-e', script];
  const host = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
  });
  await Promise.race([once(host.stdout as NodeJS.ReadableStream, 'data'), once(host, 'exit')]);
  if (host.exitCode !== null) throw new Error(`the host ended with ${host.exitCode}`);
  return host;
}

t.test('a million frames of one byte', async (t) => {
  await using running = await startAgent();
  const socket = createConnection(running.line.slice('unix:'.length));
  const codec = new MessageCodec();
  const count = 1_000_000;
  let limit = 0;
  let counted = '';
  let onCredit = (): void => {};
  const ended = new Promise<void>((resolve) => {
    const decoder = new FrameDecoder(
      {
        frame: ({ type, channel, offset, payload }) => {
          if (type === frameTypes.Welcome.id) limit = codec.decode('Welcome', payload).windowBytes;
          if (type === frameTypes.Credit.id && channel === 1) limit = Math.max(limit, offset);
          if (type === frameTypes.Stdout.id) counted += Buffer.from(payload).toString();
          if (type === frameTypes.Exited.id || counted.includes('\n')) resolve();
          onCredit();
          return true;
        },
        skipped: () => {},
      },
      { frameBytesMax: MiB, checkedOnly: false, bufferBytes: MiB },
    );
    socket.on('data', (chunk) => decoder.push(chunk));
  });
  const hello = {
    generations: [1],
    connectionKey: Buffer.alloc(16, 1),
    hostVersion: '0',
    windowBytes: MiB,
    frameBytesMax: MiB,
  };
  socket.write(
    encodeFrame({
      type: frameTypes.Hello.id,
      flags: frameFlags.CHECKED,
      payload: codec.encode('Hello', hello),
    }),
  );
  const more = (): Promise<void> => new Promise((resolve) => (onCredit = resolve));
  while (limit === 0) await more();
  const request = codec.encode('ExecRequest', { cmd: 'wc', args: ['-c'] });
  socket.write(encodeFrame({ type: frameTypes.ExecRequest.id, channel: 1, offset: 1, payload: request }));
  const byte = Buffer.from('b');
  for (let at = 0; at < count; ) {
    const upTo = Math.min(count, limit, at + 8192);
    if (upTo === at) {
      await more();
      continue;
    }
    const frames = numbers(upTo - at).map((i) =>
      encodeFrame({ type: frameTypes.Stdin.id, channel: 1, offset: at + i, payload: byte }),
    );
    at = upTo;
    if (!socket.write(Buffer.concat(frames, frames.length * (headerBytes + 1)))) await once(socket, 'drain');
  }
  socket.write(encodeFrame({ type: frameTypes.Stdin.id, flags: frameFlags.FIN, channel: 1, offset: count }));
  await ended;
  t.equal(counted.trim(), String(count));
  socket.destroy();
  await using agent = await connect(running.line);
  t.equal((await agent.exec('echo', ['after'])).stdout, 'after\n');
});
