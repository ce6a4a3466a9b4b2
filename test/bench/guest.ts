// `npm run bench:guest`: what each line of a guest carries, and how quickly; prints, asserts nothing.
import { Duplex } from 'node:stream';
import type { Agent } from '@hawser/host-client';
import { connect } from '@hawser/host-client';
import { bootGuest } from '../vm/guest.js';
import { testImage } from '../vm/image.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const rounds = 100;

async function median(action: () => Promise<unknown>): Promise<string> {
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const before = performance.now();
    await action();
    times.push(performance.now() - before);
  }
  return `${(times.toSorted((a, b) => a - b)[rounds / 2] as number).toFixed(1)} ms`;
}

async function rate(bytes: number, action: () => Promise<unknown>): Promise<string> {
  const before = performance.now();
  await action();
  return `${(bytes / 1000 / (performance.now() - before)).toFixed(3)} MB/s`;
}

async function measure(name: string, agent: Agent, bytes: number): Promise<void> {
  const ping = await median(() => agent.ping());
  const exec = await median(() => agent.exec('true'));
  const head = ['-c', String(bytes), '/dev/zero'];
  const out = await rate(bytes, () =>
    agent.exec('head', head, { encoding: 'buffer', maxBufferBytes: 2 * bytes }),
  );
  const input = Buffer.alloc(bytes);
  const into = await rate(bytes, () => agent.exec('sh', ['-c', 'cat > /dev/null'], { input }));
  process.stdout.write(`| ${name} | ${ping} | ${exec} | ${out} | ${into} |\n`);
}

await using guest = await bootGuest({
  image: testImage(),
  machine: 'q35',
  ports: ['agent'],
  serials: ['console', 'uart'],
  append: ['quiet', 'hawser.listen=virtio:agent,uart:/dev/ttyS1,vsock:5000', 'hawser.vsock-allow-loopback'],
});
await using agent = await guest.connect('agent');
await measure('virtio-serial', agent, 32 * MiB);
const bridge = await agent.spawn('/usr/bin/node', ['/opt/hawser/test/vsock-bridge.mjs', '1', '5000']);
const line = Duplex.from({ readable: bridge.stdout, writable: bridge.stdin });
await using inner = await connect(line, { handshakeTimeoutMs: 60_000 });
await measure('vsock, CID 1, through a bridge over virtio-serial', inner, 4 * MiB);
await using uart = await guest.connect('uart', { windowBytes: 16 * KiB });
await measure('UART', uart, 64 * KiB);
