import { fileURLToPath } from 'node:url';
import t from 'tap';
import { until } from '../load/world.js';
import { type RunningAgent, startAgent } from '../support/agentd.js';

/** Calls that throw in the agent from the beginning, each with a text of its own. */
const brokenCalls = fileURLToPath(new URL('../vm/payload/broken-calls.cjs', import.meta.url));

function startBroken(): Promise<RunningAgent> {
  return startAgent({ env: { NODE_OPTIONS: `--require=${brokenCalls}` } });
}

/** What the agent has logged of its faults so far. */
function faultsOf(agent: RunningAgent): { where: string; error: string }[] {
  const whole = agent.log().slice(0, agent.log().lastIndexOf('\n') + 1);
  const records = whole.split('\n').filter((line) => line.includes('"internal error"'));
  return records.map((line) => JSON.parse(line) as { where: string; error: string });
}

/** A fault of that text is logged, with a stack that says where. */
async function logged(agent: RunningAgent, text: string): Promise<void> {
  await until(`${text} to be logged`, () =>
    faultsOf(agent).some(({ error }) => error.includes(text) && /\n +at .*broken-calls\.cjs/.test(error)),
  );
}

t.test('a request that meets a bug is answered as such, and the next one is served', async (t) => {
  await using running = await startBroken();
  await using agent = await running.connect();

  await t.rejects(agent.info(), { code: 'internal', message: /Info: TypeError: broken release/ });
  await logged(running, 'broken release');
  t.notMatch(faultsOf(running)[0]?.error, /\n.*\n.*HawserError/, 'the stack is that of the bug');

  const refused = { code: 'internal', message: /ExecRequest: TypeError: broken launch/ };
  await t.rejects(agent.exec('echo', ['break this']), refused);
  await logged(running, 'broken launch');

  const session = await agent.spawn('sleep', ['1000'], { tty: true });
  const resize = session.resize({ rows: 77, cols: 90 });
  await t.rejects(
    resize,
    { code: 'internal', message: /broken setWindowSize/ },
    "on the session's own channel",
  );
  const members = session.members();
  await t.rejects(members, { code: 'internal', message: /broken isUtf8/ }, 'answered later');
  for (const text of ['broken setWindowSize', 'broken isUtf8']) await logged(running, text);

  await session.kill();
  t.match(await session.exited, { signal: 'SIGKILL' }, 'the session has gone on');
  t.equal((await agent.exec('echo', ['still here'])).stdout, 'still here\n');
  t.equal(running.child.exitCode, null);
});

t.test('a fault in any other frame ends its connection with a word, and no other', async (t) => {
  await using running = await startBroken();
  await using other = await running.connect();
  const agent = await running.connect();
  const session = await agent.spawn('cat');
  session.exited.catch(() => {});
  session.stdin?.on('error', () => {});
  session.stdin?.write('break this');
  t.match(await agent.closed, { message: /broken write2/ }, 'the goodbye says why');
  await logged(running, 'broken write2');
  t.equal((await other.exec('echo', ['other'])).stdout, 'other\n');
  await using again = await running.connect();
  t.equal((await again.exec('echo', ['again'])).stdout, 'again\n');
});

t.test('what nobody catches is logged with its stack, and the agent goes on', async (t) => {
  await using running = await startBroken();
  await using agent = await running.connect();
  running.child.kill('SIGWINCH');
  await logged(running, 'broken timer');
  running.child.kill('SIGURG');
  await logged(running, 'broken promise');
  t.match(faultsOf(running).at(-1)?.error, /caused by RangeError: beneath it\n +at /);
  t.equal((await agent.exec('echo', ['still here'])).stdout, 'still here\n');
  t.equal(running.child.exitCode, null);
});

t.test('a log that cannot be loaded hides no fault', async (t) => {
  // pino asks for the host's name when it is loaded, and so does Info.
  const code = 'import os from "node:os"; os.hostname = () => { throw new TypeError("broken hostname"); };';
  const preload = `data:text/javascript,${encodeURIComponent(code)}`;
  await using running = await startAgent({ env: { NODE_OPTIONS: `--import=${preload}` } });
  await using agent = await running.connect();
  await t.rejects(agent.info(), { code: 'internal', message: /broken hostname/ });
  await until('the fault to be logged', () =>
    faultsOf(running).some(({ error }) => /broken hostname\n +at /.test(error)),
  );
  t.match(running.log(), /pino cannot be loaded/);
});
