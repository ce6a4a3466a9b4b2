import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createConnection } from 'node:net';
import type { Session } from '@hawser/host-client';
import { eventually, isAlive, newToken, overEachMode, Transcript } from './world.js';

/** Far fewer than the sessions that an agent takes would need. */
const descriptors = 256;

overEachMode(async (t, { agent, agentd, mode }) => {
  await t.test(
    'an agent without descriptors for one more command ends and lists those that it has',
    async (t) => {
      await agent.exec('true'); // loads what is loaded once
      execFileSync('prlimit', ['--pid', String(agentd.pid), `--nofile=${descriptors}:`]);
      const sessions: Session[] = [];
      const start = async (): Promise<boolean> => {
        const script = `sleep 600 & echo up; exec sleep 600 # ${newToken()}`;
        try {
          const session = await agent.spawn('sh', ['-c', script], { stdin: 'null' });
          await new Transcript(session.stdout).until('up');
          sessions.push(session);
          return true;
        } catch (error) {
          t.match(error, { code: 'launch_failed', errno: 'EMFILE' });
          return false;
        }
      };
      while (sessions.length < descriptors && (await start()));
      t.ok(sessions.length > 10 && sessions.length < descriptors, `${sessions.length} sessions run`);

      // Nor are the last ones for peers: one of them is hung up on.
      const peers = Array.from({ length: 32 }, () =>
        createConnection(agentd.line.slice('unix:'.length)).resume(),
      );
      for (const peer of peers) peer.on('error', () => {});
      await Promise.race(peers.map((peer) => once(peer, 'close')));
      await eventually(() => /accept failed with EMFILE/.test(agentd.log()));

      const pids: number[] = [];
      for (const session of sessions) {
        const { processes } = await session.members();
        t.equal(processes.length, 2);
        pids.push(...processes.map(({ pid }) => pid));
      }
      t.equal((await sessions[0]?.stats())?.processes, 2);

      // A leader that dies is told, with who is left.
      const [first, second, ...others] = sessions as [Session, Session, ...Session[]];
      await first.signal('SIGTERM', { target: 'leader' });
      t.match(await first.exited, { signal: 'SIGTERM', survivors: 1, outputComplete: false });
      await first.killTree();
      await first.closed;
      await second.signal('SIGKILL', { target: 'leader' });
      t.match(await second.exited, { signal: 'SIGKILL', survivors: 1 });

      for (const session of [second, ...others]) await session.killTree();
      await eventually(() => !pids.some(isAlive));
      for (const peer of peers) peer.destroy();
      t.equal((await agent.exec('echo', ['again'])).stdout, 'again\n');
      t.notMatch(agentd.log(), /internal error/);
      t.comment(`${sessions.length} sessions, ${mode}`);
    },
  );
});
