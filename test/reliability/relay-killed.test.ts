import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import {
  behindRelay,
  client,
  MiB,
  roundTrip,
  runtimeFolder,
  sha256,
  startRelay,
  textOf,
} from '../support/relay.js';

const followSession = fileURLToPath(new URL('../fixtures/follow-session.ts', import.meta.url));
const fromSource = [
  '--import',
  fileURLToPath(new URL('../../tooling/typescript.mjs', import.meta.url)),
  '--conditions=@hawser/source',
];

for (const [line, bytes] of [
  ['unix', 4 * MiB],
  ['pty', 1 * MiB],
] as const) {
  t.test(`a relay that is killed and started again over a ${line} line costs nobody a byte`, async (t) => {
    await using world = await behindRelay(line);
    const agents = await Promise.all(Array.from({ length: 4 }, () => client(t, world.line)));
    let read = 0;
    const reached = (wanted: number): Promise<void> =>
      new Promise((resolve) => {
        const look = (): void => (read >= wanted ? resolve() : void setImmediate(look));
        look();
      });
    const size = 3 * bytes;
    const transfers = Promise.all(
      agents.map((agent, who) => roundTrip(agent, textOf(who, size), (more) => (read += more))),
    );
    // Nobody who waits for a clock: an answer that was under way when the relay died.
    const asleep = Promise.all(
      agents.map((agent, who) => agent.exec('sh', ['-c', `sleep 3; echo woke ${who}`])),
    );
    for (const part of [0.2, 0.45, 0.7]) {
      await reached(part * agents.length * size);
      await world.restartRelay();
    }
    t.same(
      await transfers,
      agents.map((_, who) => sha256(textOf(who, size))),
    );
    t.same(
      (await asleep).map(({ stdout }) => stdout),
      agents.map((_, who) => `woke ${who}\n`),
    );
    for (const agent of agents) await agent.close();
  });
}

/** A process of its own that takes a session's output, and can be killed. */
class Follower {
  readonly child: ChildProcess;
  stderr = '';
  readonly #closed: Promise<unknown>;

  constructor(args: readonly string[], onOutput: (chunk: Buffer) => void) {
    this.child = spawn(process.execPath, [...fromSource, followSession, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'] ?? '', XDG_RUNTIME_DIR: runtimeFolder },
    });
    this.child.stdout?.on('data', onOutput);
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.#closed = once(this.child, 'close');
  }

  /** It is gone, and everything that it has written was read. */
  async closed(): Promise<void> {
    await this.#closed;
  }
}

for (const [line, bytes] of [
  ['unix', Number(process.env['HAWSER_TEST_TRANSFER_MIB'] ?? 128) * MiB],
  ['pty', 24 * MiB],
] as const) {
  t.test(
    `host and relay killed in the middle of ${bytes / MiB} MiB over a ${line} line: another process has the rest`,
    async (t) => {
      await using world = await behindRelay(line, ['--resume-grace-ms', '1000']);
      const command = `seq 1 200000000 | head -c ${bytes}`;
      const hash = createHash('sha256');
      let read = 0;
      let half!: () => void;
      const halfway = new Promise<void>((resolve) => (half = resolve));
      const take = (chunk: Buffer): void => {
        hash.update(chunk);
        read += chunk.length;
        if (read >= bytes / 2) half();
      };
      const first = new Follower([world.line, 'start', command], take);
      await halfway;
      first.child.kill('SIGKILL');
      await world.relay.kill();
      await first.closed();
      const position = read;
      t.ok(position < bytes, `killed at ${position} of ${bytes} bytes`);
      const id = first.stderr.split('\n')[0] as string;
      world.relay = await startRelay(world.line);
      const second = new Follower([world.line, 'attach', id, String(position)], take);
      await second.closed();
      t.equal(second.stderr, `${id}\nwhole ${bytes}\n`, 'nothing was missing');
      t.equal(read, bytes);
      const expected = spawnSync('sh', ['-c', `${command} | sha256sum`], { encoding: 'utf8' });
      t.equal(`${hash.digest('hex')}  -\n`, expected.stdout);
    },
  );
}
