// `npm run demo`: starts an agent on this machine, runs commands through it and says what is to be seen.
// Ends with exit code 1 when anything is not as narrated.
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, HawserError } from '@hawser/host-client';
import { check, failures, heading, keep, records, say, show } from './narrator.mjs';

/** Far more than the demo needs; whatever hangs, it ends. */
const deadlineMs = 60_000;

async function demo() {
  heading('Connect');
  say(
    'The line "local:" starts an agentd of its own and speaks to it over a pair of pipes. With "unix:", "vsock:"',
  );
  say('or "uart:" in its place the agent is in a virtual machine, and nothing else below changes.');
  const agent = await connect('local:');
  try {
    const { agentVersion, generation, features } = agent.welcome;
    show(`agentd ${agentVersion}, protocol generation ${generation}, can do: ${features.join(', ')}`);
    for (const scene of scenes) await scene(agent);
    heading('Exit records');
    say('What the scenes above ended with:');
    for (const line of records()) show(line);
  } finally {
    await agent.close();
  }
}

async function streamedOutput(agent) {
  heading('Output arrives while the command runs');
  const script = 'for word in cast off haul; do echo $word; sleep 0.2; done; echo done >&2';
  const session = await agent.spawn('sh', ['-c', script], { stdin: 'null' });
  const startedAt = performance.now();
  const arrivals = [];
  const arrived = (stream) => (chunk) => {
    const afterMs = Math.round(performance.now() - startedAt);
    arrivals.push(stream);
    show(`after ${String(afterMs).padStart(3)} ms  ${stream}  ${chunk.toString().trimEnd()}`);
  };
  session.stdout.on('data', arrived('stdout'));
  session.stderr.on('data', arrived('stderr'));
  await once(session.stdout, 'data');
  check('the first word came before the command ended', await isPending(session.exited));
  const exit = await session.exited;
  await session.closed;
  check('stdout came in pieces, and stderr apart', arrivals.length >= 3 && arrivals.includes('stderr'));
  keep('sh (three words)', exit);
}

async function standardInput(agent) {
  heading('Standard input');
  const sorted = await agent.exec('sort', [], { input: 'moor\nberth\nhawser\n' });
  show(`sort wrote: ${sorted.stdout.trimEnd().split('\n').join(', ')}`);
  check('sort saw the end of its input', sorted.stdout === 'berth\nhawser\nmoor\n');

  const bytes = randomBytes(32 * 1024 * 1024);
  const { stdout, exit } = await agent.exec('sha256sum', [], { input: bytes });
  show(`sha256sum of 32 MiB: ${stdout.slice(0, 16)}…, in ${Math.round(exit.durationUs / 1000)} ms`);
  check('it is the same as here', stdout.startsWith(createHash('sha256').update(bytes).digest('hex')));
  keep('sha256sum', exit);
}

async function limits(agent) {
  heading('Resource limits');
  const rlimits = { nofile: { soft: 64, hard: 128 } };
  const applied = await agent.exec('grep', ['open files', '/proc/self/limits'], { rlimits });
  say('Asked for nofile 64:128. The command itself reads, from its first instruction on:');
  show(applied.stdout.trimEnd());
  check('both limits are in force', /open files +64 +128 /.test(applied.stdout));

  const session = await agent.spawn('cat', [], { rlimits });
  const { nofile } = await session.setRlimits({ nofile: { soft: 32, hard: 96 } });
  const changed = await agent.exec('grep', ['open files', `/proc/${session.pid}/limits`]);
  say('The same, changed to 32:96 on a session that runs:');
  show(changed.stdout.trimEnd());
  check('the kernel has the new limits', /open files +32 +96 /.test(changed.stdout));
  check('and the session says so', nofile.soft === 32n && nofile.hard === 96n);
  session.stdin.end();
  keep('cat', await session.exited);
}

async function terminal(agent) {
  heading('A terminal');
  const script = 'tty; stty size; trap "stty size; exit 0" WINCH; echo ready; while :; do sleep 0.05; done';
  const session = await agent.spawn('sh', ['-c', script], { tty: { rows: 30, cols: 100 } });
  const screen = reader(session.stdout);
  const before = await screen.until('ready');
  say(`Started with 30 rows and 100 columns, the program finds itself on ${before.split('\r\n')[0]} with`);
  show(before.split('\r\n')[1]);
  check('the size was there before the program asked', before.includes('30 100'));
  await session.resize({ rows: 50, cols: 132 });
  const exit = await session.exited;
  const after = await screen.rest();
  say('Resized to 50 rows and 132 columns, it gets SIGWINCH and finds');
  show(after.trim());
  check('the program saw the resize', after.includes('50 132'));
  keep('sh in a terminal', exit);
}

async function signals(agent) {
  heading('A signal');
  const session = await agent.spawn('sleep', ['60'], { stdin: 'null' });
  await session.signal('SIGTERM');
  const exit = await session.exited;
  show(`sleep 60: code ${exit.code}, signal ${exit.signal}, killedBy ${exit.killedBy}`);
  check('the exit record names the signal', exit.code === null && exit.signal === 'SIGTERM');
  check('and that it was asked for', exit.killedBy === 'request');
  keep('sleep 60', exit);
}

async function failedStart(agent) {
  heading('A command that does not exist');
  const error = await rejection(agent.exec('no-such-program'));
  show(`HawserError ${error.code} (stage ${error.stage}, ${error.errno}): ${error.message.slice(0, 72)}…`);
  check('it is a typed error', error instanceof HawserError && error.code === 'not_found');
  const { code, exit } = await agent.exec('sh', ['-c', 'exit 127']);
  say('A command that itself exits with 127 is something else, and no error:');
  show(`code ${code}`);
  check('its code is its own', code === 127);
  keep('sh (exit 127)', exit);
}

async function backgroundChild(agent) {
  heading('A child left in the background');
  const script = '(sleep 1; echo late) & echo early';
  const session = await agent.spawn('sh', ['-c', script], { stdin: 'null' });
  const output = reader(session.stdout);
  session.stderr.resume();
  const exit = await session.exited;
  say('The leader is gone and a child still holds its stdout. The exit is reported at once:');
  show(`stdout ${exit.stdout.bytes} bytes so far, outputComplete ${exit.outputComplete}`);
  check('the output is not complete', exit.outputComplete === false);
  check('what the leader wrote is counted', exit.stdout.bytes === 'early\n'.length);
  check('the session is not closed yet', await isPending(session.closed));
  await session.closed;
  say('and "closed" follows when the last holder is gone. By then stdout has brought:');
  const all = await output.rest();
  show(all.trimEnd().split('\n').join(', '));
  check('what the child wrote came too', all === 'early\nlate\n');
  keep('sh (child left)', exit);
}

async function timeout(agent) {
  heading('A timeout');
  const options = { timeoutMs: 300, killGraceMs: 200 };
  const { exit } = await agent.exec('sh', ['-c', 'trap "" TERM; sleep 30'], options);
  say('300 ms, then SIGTERM, which this command ignores, and SIGKILL 200 ms later:');
  show(`signal ${exit.signal}, timedOut ${exit.timedOut}, after ${Math.round(exit.durationUs / 1000)} ms`);
  check(
    'it was ended by its timeout',
    exit.timedOut && exit.signal === 'SIGKILL' && exit.killedBy === 'timeout',
  );
  keep('sh (timeout)', exit);
}

async function roundTrips(agent) {
  heading('Round trips');
  const pings = [];
  for (let n = 0; n < 100; n++) pings.push(await agent.ping());
  const execs = [];
  for (let n = 0; n < 50; n++) {
    const startedAt = performance.now();
    await agent.exec('/bin/true');
    execs.push(performance.now() - startedAt);
  }
  show(
    `ping: median ${median(pings).toFixed(2)} ms of 100; /bin/true: median ${median(execs).toFixed(2)} ms of 50`,
  );
  const { sessionsStarted, sessionsRunning } = await agent.info();
  show(`the agent has started ${sessionsStarted} sessions, of which ${sessionsRunning} run`);
  check('no session is left', sessionsRunning === 0);
}

const scenes = [
  streamedOutput,
  standardInput,
  limits,
  terminal,
  signals,
  failedStart,
  backgroundChild,
  timeout,
  roundTrips,
];

/** What a stream brings, as text. */
function reader(stream) {
  let text = '';
  stream.setEncoding('utf8');
  stream.on('data', (part) => {
    text += part;
  });
  const ended = once(stream, 'end');
  return {
    async until(mark) {
      while (!text.includes(mark)) await Promise.race([once(stream, 'data'), ended]);
      const seen = text;
      text = '';
      return seen;
    },
    async rest() {
      await ended;
      return text;
    },
  };
}

async function isPending(promise) {
  const pending = {};
  return (await Promise.race([promise, Promise.resolve(pending)])) === pending;
}

async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('it was expected to fail, and did not');
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}

const startedAt = performance.now();
const deadline = setTimeout(() => {
  console.error(`demo: not over after ${deadlineMs} ms`);
  process.exit(1);
}, deadlineMs);
try {
  await demo();
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  console.log(
    `\n${failures() === 0 ? 'All as narrated' : `${failures()} NOT AS NARRATED`}, in ${seconds} s.`,
  );
} catch (error) {
  console.error('\ndemo:', error);
  process.exitCode = 1;
}
clearTimeout(deadline);
if (failures() > 0) process.exitCode = 1;
