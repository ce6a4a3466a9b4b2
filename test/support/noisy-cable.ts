import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { Random } from '../../protocol/test/wire.js';
import { stop } from './agentd.js';

export interface NoisyCable extends AsyncDisposable {
  readonly agentEnd: string;
  readonly hostEnd: string;
  /** Bits that were flipped so far. */
  readonly flips: () => number;
  readonly carriedBytes: () => number;
}

/** Two ptys, each the other's far end, with one flipped bit for every `bytesPerFlip` bytes on average, both ways. */
export async function noisyCable(folder: string, bytesPerFlip: number, seed: number): Promise<NoisyCable> {
  const random = new Random(seed);
  const ends: Socket[] = [];
  let flips = 0;
  let carried = 0;
  let untilFlip = next();
  function next(): number {
    return Math.ceil(-Math.log(1 - random.below(2 ** 30) / 2 ** 30) * bytesPerFlip);
  }
  const carry = (chunk: Buffer, from: Socket, to: Socket): void => {
    carried += chunk.length;
    let at = untilFlip;
    for (; at < chunk.length; at += next()) {
      flips++;
      chunk[at] = (chunk[at] as number) ^ (1 << random.below(8));
    }
    untilFlip = at - chunk.length;
    if (to.write(chunk)) return;
    from.pause();
    to.once('drain', () => from.resume());
  };
  const path = join(folder, 'cable.sock');
  const server = createServer();
  const both = new Promise<void>((resolve) => {
    server.on('connection', (socket: Socket) => {
      ends.push(socket);
      socket.on('error', () => {});
      if (ends.length === 2) resolve();
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const paths = ['agent.tty', 'host.tty'].map((name) => join(folder, name)) as [string, string];
  const socats: ChildProcess[] = [];
  for (const tty of paths) socats.push(await openPty(tty, path));
  await both;
  const [agent, host] = ends as [Socket, Socket];
  agent.on('data', (chunk: Buffer) => carry(chunk, agent, host));
  host.on('data', (chunk: Buffer) => carry(chunk, host, agent));
  // A pty whose last holder is killed hangs up, which a serial port does not: it is held here.
  const flags = constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOCTTY;
  const held = paths.map((tty) => openSync(tty, flags));
  return {
    agentEnd: paths[0],
    hostEnd: paths[1],
    flips: () => flips,
    carriedBytes: () => carried,
    async [Symbol.asyncDispose]() {
      for (const fd of held) closeSync(fd);
      for (const socat of socats) await stop(socat);
      for (const socket of ends) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

async function openPty(tty: string, socket: string): Promise<ChildProcess> {
  const child = spawn('socat', ['-d', '-d', `pty,raw,echo=0,link=${tty}`, `unix-connect:${socket}`], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  await new Promise<void>((resolve, reject) => {
    let text = '';
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      if (text.includes('starting data transfer loop')) resolve();
    });
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`socat ended: ${text}`)));
  });
  return child;
}
