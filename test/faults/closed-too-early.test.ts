import { Agent } from '@hawser/host-client';
import type { Payload, PayloadName } from '@hawser/protocol';
import { frameTypes, MessageCodec } from '@hawser/protocol';
import type { Test } from 'tap';
import t from 'tap';
import { TestLine, turn } from '../../protocol/test/connection/test-line.js';
import { noUsage, welcomeOf } from '../../protocol/test/messages/samples.js';
import { CHECKED, FIN, frame, readFrames } from '../../protocol/test/wire.js';

const codec = new MessageCodec();

/** An agent that says what the test says, and reads nothing but the greeting. */
class ScriptedAgent {
  readonly line = new TestLine();
  #number = 0;

  async greeted(): Promise<Agent> {
    const connecting = Agent.greet(this.line, { heartbeatIntervalMs: 1_000_000, reconnectMs: 0 });
    await turn();
    const hello = readFrames(this.line.take()).find(({ type }) => type === frameTypes.Hello.id);
    const { connectionKey, attempt } = codec.decode('Hello', hello?.payload ?? Buffer.alloc(0));
    const payload = codec.encode('Welcome', { ...welcomeOf(connectionKey), attempt });
    this.line.deliver(frame({ type: frameTypes.Welcome.id, flags: CHECKED, payload }));
    return connecting;
  }

  say<N extends PayloadName & keyof typeof frameTypes>(name: N, body: Payload<N>): void {
    const { id } = frameTypes[name];
    this.line.deliver(
      frame({ type: id, channel: 1, offset: ++this.#number, payload: codec.encode(name, body) }),
    );
  }

  endOutputs(): void {
    for (const name of ['Stdout', 'Stderr'] as const)
      this.line.deliver(frame({ type: frameTypes[name].id, flags: FIN, channel: 1 }));
  }
}

const none = { bytes: 0, dropped: 0 };
const closed: Payload<'Closed'> = { stdout: none, stderr: none };
const started: Payload<'ExecStarted'> = { sessionId: 's-1', pid: 7, startedAtUs: 1 };
const exited: Payload<'Exited'> = {
  code: 3,
  coreDumped: false,
  timedOut: false,
  rusage: noUsage,
  startedAtUs: 1,
  durationUs: 1,
  stdout: none,
  stderr: none,
  outputComplete: true,
};

/** What has become of a call when its connection is over and everything that follows from that has happened. */
async function outcome(call: Promise<unknown>): Promise<unknown> {
  const settled = call.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  for (let i = 0; i < 5; i++) await turn();
  return Promise.race([settled, turn().then(() => 'pending')]);
}

async function withAgent(
  t: Test,
  call: (agent: Agent) => Promise<unknown>,
  script: (scripted: ScriptedAgent) => void,
): Promise<void> {
  const scripted = new ScriptedAgent();
  const agent = await scripted.greeted();
  const result = call(agent);
  result.catch(() => {});
  await turn();
  script(scripted);
  await turn();
  scripted.line.fail();
  await agent.closed;
  t.match(await outcome(result), { error: { code: 'line_closed' } });
}

t.test('a session that is closed before it was attached to ends with its connection', (t) =>
  withAgent(
    t,
    (agent) => agent.attach('s-1'),
    (scripted) => scripted.say('Closed', closed),
  ),
);

t.test('a command that is closed before it has started ends with its connection', async (t) => {
  const script = (scripted: ScriptedAgent): void => {
    scripted.endOutputs();
    scripted.say('Closed', closed);
  };
  await withAgent(t, (agent) => agent.exec('x'), script);
  await withAgent(t, (agent) => agent.spawn('x', [], { stdin: 'null' }), script);
});

t.test('a command that is closed while it runs ends with its connection', async (t) => {
  const script = (scripted: ScriptedAgent): void => {
    scripted.say('ExecStarted', started);
    scripted.endOutputs();
    scripted.say('Closed', closed);
  };
  await withAgent(t, (agent) => agent.exec('x'), script);
  await withAgent(t, async (agent) => (await agent.spawn('x')).exited, script);
  await withAgent(t, async (agent) => (await agent.spawn('x')).closed, script);
});

t.test('what was closed too early still exits', async (t) => {
  const scripted = new ScriptedAgent();
  const agent = await scripted.greeted();
  const result = agent.exec('x');
  await turn();
  scripted.say('Closed', { stdout: { bytes: 9, dropped: 0 }, stderr: none });
  scripted.endOutputs();
  scripted.say('ExecStarted', started);
  scripted.say('Exited', exited);
  t.match(await outcome(result), { value: { code: 3, stdout: '' } });
  await agent.close();
});
