import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { lstatSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { type Agent, connect } from '@hawser/host-client';
import t from 'tap';
import { relayPaths } from '../../host-client/src/relay/relay-path.js';
import { startAgent, stop } from '../support/agentd.js';
import { CuttableProxy } from '../support/cuttable-proxy.js';
import {
  behindRelay,
  client,
  hawserProgram,
  MiB,
  roundTrip,
  runtimeFolder,
  sha256,
  startRelay,
  textOf,
} from '../support/relay.js';

for (const [line, bytes] of [
  ['unix', 4 * MiB],
  ['pty', 1 * MiB],
] as const) {
  t.test(`20 clients at once over a ${line} line: each gets its own bytes, all of them`, async (t) => {
    await using world = await behindRelay(line);
    const agents = await Promise.all(Array.from({ length: 20 }, () => client(t, world.line)));
    const hashes = await Promise.all(agents.map((agent, who) => roundTrip(agent, textOf(who, bytes))));
    t.same(
      hashes,
      agents.map((_, who) => sha256(textOf(who, bytes))),
    );
    for (const agent of agents) await agent.close();
  });
}

t.test('a client that is stopped, and one that never reads, delay nobody', async (t) => {
  await using world = await behindRelay('unix');
  const lazy = await client(t, world.line);
  // Unread for ever: as many bytes as its credit go to it.
  const unread = await lazy.spawn('cat', ['/dev/zero'], { stdin: 'null' });
  const stopped = spawn(
    process.execPath,
    [hawserProgram, 'exec', world.line, '--', 'sh', '-c', `seq 1 200000000 | head -c ${64 * MiB}`],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, XDG_RUNTIME_DIR: runtimeFolder } },
  );
  const hash = createHash('sha256');
  await once(stopped.stdout, 'readable');
  stopped.kill('SIGSTOP');
  const agent = await client(t, world.line);
  t.equal(await roundTrip(agent, textOf(1, 16 * MiB)), sha256(textOf(1, 16 * MiB)));
  for (let n = 0; n < 20; n++) t.match(await agent.exec('echo', [`${n}`]), { stdout: `${n}\n` });
  t.match(await lazy.exec('echo', ['of the same client']), { stdout: 'of the same client\n' });
  stopped.kill('SIGCONT');
  for await (const chunk of stopped.stdout) hash.update(chunk as Buffer);
  const expected = spawnSync('sh', ['-c', `seq 1 200000000 | head -c ${64 * MiB} | sha256sum`], {
    encoding: 'utf8',
  });
  t.equal(`${hash.digest('hex')}  -\n`, expected.stdout, 'the stopped one has everything in the end');
  await unread.kill();
  for (const one of [agent, lazy]) await one.close();
});

t.test('the 256th client is refused with a reason, and there is room when one has left', async (t) => {
  await using world = await behindRelay('unix');
  const { socket } = relayPaths(world.line);
  const sockets: Socket[] = [];
  for (let n = 0; n < 255; n++) {
    const one = createConnection(socket);
    await once(one, 'connect');
    sockets.push(one);
  }
  await t.rejects(connect(world.line), {
    code: 'limit_exceeded',
    message: /the relay of unix:.* has its 255 clients \(lanesMax 256\)/,
  });
  sockets.pop()?.destroy();
  // The relay hears of that in its own time.
  let agent: Agent | undefined;
  while (agent === undefined) agent = await connect(world.line).catch(() => undefined);
  t.match(await agent.exec('echo', ['in']), { stdout: 'in\n' });
  for (const one of sockets) one.destroy();
  await agent.close();
});

t.test('a session belongs to its client; another reaches it by its id alone', async (t) => {
  await using world = await behindRelay('unix');
  const [one, two] = [await client(t, world.line), await client(t, world.line)];
  const session = await one.spawn('cat');
  const own = await two.spawn('cat');
  t.not(session.id, own.id);
  // Both are channel 1 of their connections.
  await own.signal('SIGTERM');
  t.match(await own.exited, { signal: 'SIGTERM' });
  session.stdin?.write('still here\n');
  const [chunk] = (await once(session.stdout, 'data')) as [Buffer];
  t.equal(chunk.toString(), 'still here\n');
  await t.rejects(two.attach('nobody-1'), { code: 'unknown_session' });
  const guest = await two.attach(session.id, { stdin: true });
  guest.stdin?.end('by two\n');
  const [more] = (await once(guest.stdout, 'data')) as [Buffer];
  t.equal(more.toString(), 'by two\n');
  await two.close();
  t.match(await session.exited, { code: 0 }, 'which the end of the other leaves alone');
  await one.close();
});

t.test(
  'a relay is alone on its line and at its sockets, and takes the place of one that was killed',
  async (t) => {
    await using world = await behindRelay('unix');
    const { socket } = relayPaths(world.line);
    t.equal(lstatSync(socket).mode & 0o777, 0o600);
    await t.rejects(startRelay(world.line), /\(125\).* has a relay already, at unix:/);
    await using other = await startAgent();
    await t.rejects(
      startRelay(other.line, ['--listen', world.line]),
      /\(125\).*another process listens there/,
    );
    const extra = join(world.agentd.folder, 'extra.sock');
    await using second = await startRelay(other.line, ['--listen', `unix:${extra}`]);
    t.match(second.log(), `unix:${extra}`);
    const byPath = await connect(`unix:${extra}`);
    t.match(await byPath.exec('echo', ['by path']), { stdout: 'by path\n' });
    await byPath.close();
    await world.relay.kill();
    t.ok(lstatSync(socket).isSocket(), 'which left its socket behind');
    const direct = await connect(world.line);
    t.equal(direct.line, world.line, 'whoever comes meanwhile has the line itself');
    await direct.close();
    await world.restartRelay();
    const agent = await client(t, world.line);
    await agent.close();
    await stop(world.relay.child);
    t.equal(lstatSync(socket, { throwIfNoEntry: false }), undefined, 'one that ends in order takes it away');
  },
);

t.test('hawser doctor says that it is by way of a relay', async (t) => {
  await using world = await behindRelay('pty');
  const { stdout, status } = spawnSync(process.execPath, [hawserProgram, 'doctor', world.line], {
    encoding: 'utf8',
    env: { ...process.env, XDG_RUNTIME_DIR: runtimeFolder },
  });
  t.equal(status, 0);
  t.match(stdout, /^line +uart:\S+ \(relay unix:\S+\), answered/m);
});

t.test('a line that is lost is opened again, and the clients go on', async (t) => {
  const agentd = await startAgent({ line: 'unix' });
  await using proxy = await CuttableProxy.listen(join(agentd.folder, 'proxy.sock'), agentd.line.slice(5));
  await using relay = await startRelay(proxy.line);
  const agents = [await client(t, proxy.line), await client(t, proxy.line)];
  const states: string[] = [];
  agents[0]!.onState = (state) => states.push(state);
  let read = 0;
  const size = 12 * MiB;
  const hashes = await Promise.all(
    agents.map((agent, who) =>
      roundTrip(agent, textOf(who, size), (bytes) => {
        const before = Math.floor(read / (4 * MiB));
        read += bytes;
        if (Math.floor(read / (4 * MiB)) !== before) proxy.cutAfter(1 + ((read * 7919) % 300_000));
      }),
    ),
  );
  t.same(
    hashes,
    agents.map((_, who) => sha256(textOf(who, size))),
  );
  t.ok(proxy.connections > 3, `${proxy.connections} lines were used`);
  t.match(relay.log(), /was lost, opening it again/);
  t.match(states.slice(0, 2), ['resuming', 'connected']);
  for (const agent of agents) await agent.close();
  await agentd[Symbol.asyncDispose]();
});
