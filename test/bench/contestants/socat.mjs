// socat as a relay over a Unix socket, between a command's pipe and a reader or writer in Node.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { serve, timed } from '../contestant.mjs';
import { killTree } from '../owner.mjs';
import { writeZeros } from './zeros.mjs';

const [directory] = process.argv.slice(2);
const path = `${directory}/socat-${process.pid}.sock`;

const relay = (bufferBytes, from, to) => `socat -u -b${bufferBytes} ${from} ${to}`;

/** Listens, runs a pipeline that connects, and gives the connection to whoever uses it. */
async function withPipeline(pipeline, use) {
  rmSync(path, { force: true });
  const server = createServer({ allowHalfOpen: true }).listen(path);
  await once(server, 'listening');
  const connected = once(server, 'connection');
  const shell = spawn('/bin/sh', ['-c', pipeline], { stdio: ['ignore', 'pipe', 'inherit'] });
  const closed = once(shell, 'close');
  try {
    const [socket] = await connected;
    await use(socket, shell.stdout);
    socket.destroy();
  } finally {
    killTree(shell.pid);
    await closed;
    server.close();
  }
}

await serve({
  async produce({ command, args, bufferBytes }) {
    let bytes = 0;
    const pipeline = `${[command, ...args].join(' ')} | ${relay(bufferBytes, '-', `UNIX-CONNECT:${path}`)}`;
    const ns = await timed(() =>
      withPipeline(pipeline, async (socket) => {
        socket.on('data', (chunk) => (bytes += chunk.length));
        await once(socket, 'end');
      }),
    );
    return { bytes, ns };
  },

  async consume({ command, bytes, chunkBytes, bufferBytes }) {
    let counted = '';
    const pipeline = `${relay(bufferBytes, `UNIX-CONNECT:${path}`, '-')} | ${command}`;
    const ns = await timed(() =>
      withPipeline(pipeline, async (socket, stdout) => {
        stdout.setEncoding('utf8').on('data', (text) => (counted += text));
        const ended = once(stdout, 'end');
        await writeZeros(socket, bytes, chunkBytes);
        await ended;
      }),
    );
    return { bytes: Number(counted), ns };
  },
});
