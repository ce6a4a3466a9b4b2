import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { type Agent, connect } from '@hawser/host-client';
import t from 'tap';
import { startAgent } from '../support/agentd.js';
import { CuttableProxy } from '../support/cuttable-proxy.js';

const MiB = 1024 * 1024;

/** An agent behind a proxy, and a host that is connected through it. */
async function behindProxy(args: readonly string[] = []) {
  const agentd = await startAgent({ args });
  const proxy = await CuttableProxy.listen(join(agentd.folder, 'proxy.sock'), agentd.line.slice(5));
  const agent = await connect(proxy.line);
  return {
    agentd,
    proxy,
    agent,
    async [Symbol.asyncDispose]() {
      await agent.close();
      await proxy[Symbol.asyncDispose]();
      await agentd[Symbol.asyncDispose]();
    },
  };
}

function stateOf(agent: Agent, wanted: Agent['state']): Promise<void> {
  return new Promise((resolve) => {
    agent.onState = (state) => {
      if (state === wanted) resolve();
    };
  });
}

t.test('output and input go on whole over line after line', async (t) => {
  await using world = await behindProxy();
  const { agent, proxy } = world;
  const states: string[] = [];
  agent.onState = (state) => states.push(state);
  const input = Buffer.alloc(48 * MiB, 'The quick brown fox jumps over the lazy dog.\n');
  const session = await agent.spawn('cat');
  const hash = createHash('sha256');
  let read = 0;
  session.stdin?.end(input);
  for await (const chunk of session.stdout as AsyncIterable<Buffer>) {
    hash.update(chunk);
    const before = Math.floor(read / (4 * MiB));
    read += chunk.length;
    // Anywhere in a frame or between two.
    if (Math.floor(read / (4 * MiB)) !== before) proxy.cutAfter(1 + ((read * 7919) % 300_000));
  }
  t.equal(read, input.length);
  t.equal(hash.digest('hex'), createHash('sha256').update(input).digest('hex'));
  t.match(await session.exited, { code: 0, stdout: { bytes: input.length, dropped: 0 } });
  t.ok(proxy.connections > 5, `${proxy.connections} lines were used`);
  t.match(states.slice(0, 2), ['resuming', 'connected']);
  t.equal(agent.state, 'connected');
});

t.test('calls that are under way when the line is lost are answered when there is another', async (t) => {
  await using world = await behindProxy();
  const { agent, proxy } = world;
  const sleeping = agent.exec('sh', ['-c', 'echo before; sleep 0.5; echo after']);
  const away = stateOf(agent, 'resuming');
  proxy.refusing = true;
  proxy.cut();
  await away;
  const asked = [agent.ping(), agent.info(), agent.exec('echo', ['asked meanwhile'])] as const;
  const back = stateOf(agent, 'connected');
  proxy.refusing = false;
  await back;
  const [, info, { stdout }] = await Promise.all(asked);
  t.ok(info.sessionsStarted >= 1);
  t.equal(stdout, 'asked meanwhile\n');
  t.match(await sleeping, { code: 0, stdout: 'before\nafter\n' });
});

t.test('a request is carried out once, wherever the line is cut', async (t) => {
  await using world = await behindProxy();
  const { agent, proxy, agentd } = world;
  const file = join(agentd.folder, 'runs');
  for (let cutAfter = 1; cutAfter < 900; cutAfter += 11) {
    proxy.cutAfter(cutAfter);
    t.match(await agent.exec('sh', ['-c', 'echo run >> "$0"; echo out', file]), { code: 0, stdout: 'out\n' });
  }
  const runs = (await agent.exec('cat', [file])).stdout.split('\n').length - 1;
  t.equal(runs, 82);
  t.ok(proxy.connections > 60, `${proxy.connections} lines were used`);
});

t.test('a host that does not come back within the grace is gone, and so are its sessions', async (t) => {
  await using world = await behindProxy(['--resume-grace-ms', '300']);
  const { agent, proxy, agentd } = world;
  const session = await agent.spawn('sleep', ['1000']);
  const ended = t.rejects(session.exited, { code: 'connection_lost' });
  proxy.refusing = true;
  proxy.cut();
  await using other = await connect(agentd.line);
  // The process is gone when its session was ended: that is what the other host sees.
  await other.exec('sh', ['-c', 'while kill -0 "$0" 2>/dev/null; do sleep 0.05; done', String(session.pid)]);
  await ended;
  t.match(await agent.closed, { code: 'connection_lost', message: /was not reached again within 300 ms/ });
  t.equal(agent.state, 'lost');
});

t.test('a connection of which the agent knows nothing any more is lost', async (t) => {
  await using world = await behindProxy();
  const { agent, proxy, agentd } = world;
  const session = await agent.spawn('sleep', ['1000']);
  const ended = t.rejects(session.exited, { code: 'connection_lost', message: /started again/ });
  proxy.refusing = true;
  proxy.cut();
  agentd.child.kill('SIGKILL');
  await using next = await startAgent();
  // The same address leads to another agent now.
  proxy.target = next.line.slice('unix:'.length);
  proxy.refusing = false;
  await ended;
  t.equal(agent.state, 'lost');
});
