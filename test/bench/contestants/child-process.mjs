// Node's own child_process, with the stdio it makes by default.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { serve, timed } from '../contestant.mjs';

async function run() {
  const child = spawn('/bin/true');
  child.stdout.resume();
  child.stderr.resume();
  await once(child, 'close');
}

let stream;

await serve({
  exec: ({ count }) => timed(() => Promise.all(Array.from({ length: count }, run))),

  startStream({ command, args }) {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    stream = { child, bytes: 0, start: process.hrtime.bigint() };
    child.stdout.on('data', (chunk) => (stream.bytes += chunk.length));
  },

  async stopStream() {
    const { child, bytes, start } = stream;
    const ns = Number(process.hrtime.bigint() - start);
    child.kill('SIGKILL');
    await once(child, 'close');
    return { bytes, ns };
  },
});
