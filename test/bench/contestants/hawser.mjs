// A host program: it holds one connection to an agent and does over it what the measurements ask.
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { serve, timed } from '../contestant.mjs';
import { writeZeros } from './zeros.mjs';

const { connect } = await import(new URL('../../../host-client/dist/index.js', import.meta.url).href);

const [line] = process.argv.slice(2);
const agent = await connect(line);
const size = { rows: 24, cols: 80 };

const repeat = (count, run) => Promise.all(Array.from({ length: count }, (_, index) => run(index)));

/** As it is called without options: the command's stdin is at its end. */
async function pipedExec() {
  await agent.exec('/bin/true');
}

/** With a third pipe, as the references have it. */
async function threePipesExec() {
  await agent.exec('/bin/true', [], { input: '' });
}

async function terminalExec() {
  const session = await agent.spawn('/bin/true', [], { tty: size });
  session.stdout.resume();
  await session.exited;
}

/** Reads a session's stdout to its end and counts it. */
async function countStdout(session) {
  let bytes = 0;
  session.stdout.on('data', (chunk) => (bytes += chunk.length));
  await once(session.stdout, 'end');
  return bytes;
}

async function produce({ command, args }) {
  const session = await agent.spawn(command, args, { stdin: 'null' });
  const bytes = await countStdout(session);
  await session.exited;
  return bytes;
}

async function consume({ command, args = [], bytes, chunkBytes }) {
  const session = await agent.spawn(command, args, { stdin: 'pipe' });
  let counted = '';
  session.stdout.setEncoding('utf8').on('data', (text) => (counted += text));
  const ended = once(session.stdout, 'end');
  await writeZeros(session.stdin, bytes, chunkBytes);
  await ended;
  await session.exited;
  return Number(counted);
}

/** Writes to a `cat` and reads what comes back. */
async function echo({ bytes, chunkBytes, tty }) {
  const session = await agent.spawn('/bin/cat', [], tty ? { tty: size } : { stdin: 'pipe' });
  const counted = countStdout(session);
  await writeZeros(session.stdin, bytes, chunkBytes);
  await counted;
  await session.exited;
}

async function killed(session) {
  session.stdin?.on('error', () => undefined); // what was still to be written has nobody to read it
  session.stdout.resume();
  session.stderr?.resume();
  await session.kill();
  await session.exited;
}

let stream;
let idle = [];

await serve({
  exec: ({ count }) => timed(() => repeat(count, pipedExec)),
  threePipes: ({ count }) => timed(() => repeat(count, threePipesExec)),
  terminal: ({ count }) => timed(() => repeat(count, terminalExec)),

  async ping({ count }) {
    const times = [];
    for (let i = 0; i < count; i++) times.push(await timed(() => agent.ping()));
    return times;
  },

  async produce(request) {
    let bytes;
    const ns = await timed(async () => (bytes = await produce(request)));
    return { bytes, ns };
  },

  async consume(request) {
    let bytes;
    const ns = await timed(async () => (bytes = await consume(request)));
    return { bytes, ns };
  },

  async startStream({ command, args }) {
    const session = await agent.spawn(command, args, { stdin: 'null' });
    stream = { session, bytes: 0, start: process.hrtime.bigint() };
    session.stdout.on('data', (chunk) => (stream.bytes += chunk.length));
  },

  async stopStream() {
    const { session, bytes, start } = stream;
    const ns = Number(process.hrtime.bigint() - start);
    await killed(session);
    return { bytes, ns };
  },

  async openIdle({ count, command, args }) {
    for (let opened = 0; opened < count; opened += 50) {
      const batch = await repeat(Math.min(50, count - opened), () =>
        agent.spawn(command, args, { stdin: 'pipe' }),
      );
      idle.push(...batch);
    }
  },

  async closeIdle() {
    await Promise.all(idle.map(killed));
    idle = [];
  },

  /** A child that never reads, offered `bytes` of stdin without regard to back-pressure. */
  async deafChild({ bytes, holdMs }) {
    const session = await agent.spawn('/bin/sleep', ['60'], { stdin: 'pipe' });
    const chunk = Buffer.alloc(1024 * 1024);
    for (let sent = 0; sent < bytes; sent += chunk.length) session.stdin.write(chunk);
    await delay(holdMs);
    await killed(session);
  },

  /** Children that write without end to a host that never reads. */
  async deafHost({ count, command, args, holdMs }) {
    const sessions = await repeat(count, () => agent.spawn(command, args, { stdin: 'null' }));
    await delay(holdMs);
    await Promise.all(sessions.map(killed));
  },

  async mixed({ count, producer, bytes, chunkBytes }) {
    const kinds = [
      () => pipedExec(),
      () => terminalExec(),
      () => produce(producer),
      () => echo({ bytes, chunkBytes }),
    ];
    await repeat(count, (index) => kinds[index % kinds.length]());
  },
});
