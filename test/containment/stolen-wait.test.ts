import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { World } from '../cli-world.js';
import { eventually, overEachMode, Transcript } from './world.js';

const victim = 'sleep';
const thief = fileURLToPath(new URL('./fixtures/wait-thief.mjs', import.meta.url));

overEachMode(
  async (t, { agent, agentd }) => {
    /** Kills the one session's leader that is a `sleep`, and has its exit taken away from the agent. */
    async function killAndSteal(pid: number): Promise<void> {
      const before = thefts(agentd.log());
      // What it has written came before the shell became the `sleep` for which the thief looks.
      await eventually(() => readFileSync(`/proc/${pid}/comm`, 'latin1') === `${victim}\n`);
      process.kill(agentd.pid, 'SIGUSR2');
      await eventually(() => thefts(agentd.log()) > before);
      process.kill(pid, 'SIGKILL');
    }

    await t.test('a session whose leader somebody else has waited for ends all the same', async (t) => {
      const session = await agent.spawn('sh', ['-c', `echo out; exec ${victim} 600`]);
      const output = new Transcript(session.stdout);
      await output.until('out\n');
      session.stderr?.resume();
      await killAndSteal(session.pid);
      const exit = await session.exited;
      t.match(exit, { code: null, signal: null, coreDumped: false, timedOut: false, outputComplete: true });
      t.equal(exit.killedBy, undefined);
      t.match(exit.stdout, { bytes: 4, dropped: 0 });
      t.match(exit.rusage, { userUs: 0, systemUs: 0, maxRssKiB: 0 });
      t.equal(await output.rest(), '');
      await session.closed;
      t.equal((await agent.info()).sessionsRunning, 0);
      t.equal((await agent.exec('sh', ['-c', 'exit 7'])).code, 7, 'the next one has its own exit');
    });

    await t.test('which the command line says', async (t) => {
      const world = new World();
      t.teardown(() => world.close());
      const script = `echo $$; exec ${victim} 600`;
      const hawser = world.start(['exec', '--', 'sh', '-c', script], { HAWSER_LINE: agentd.line });
      const [pid] = await once(hawser.child.stdout!, 'data');
      await killAndSteal(Number(pid));
      const { code, stderr } = await hawser.finished;
      t.equal(code, 125);
      t.equal(
        stderr,
        'hawser: the command has ended, how is not known: somebody else in the guest waited for its process\n',
      );
    });
  },
  { env: { NODE_OPTIONS: `--import=${thief}`, WAIT_THIEF_VICTIM: victim } },
);

function thefts(log: string): number {
  return log.split('thief: waiting for').length - 1;
}
