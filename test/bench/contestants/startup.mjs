// Starts programs and times them from outside: an agent until a host has shaken hands with it, and a bare Node.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { AgentProcess } from '../agent.mjs';
import { serve, timed } from '../contestant.mjs';
import { Owner } from '../owner.mjs';

const { connect } = await import(new URL('../../../host-client/dist/index.js', import.meta.url).href);
const owner = new Owner();

await serve({
  async agent() {
    let agentProcess;
    let agent;
    const ns = await timed(async () => {
      agentProcess = new AgentProcess(owner);
      agent = await connect(await agentProcess.firstConnection());
    });
    await agent.close();
    await agentProcess.end();
    return ns;
  },

  node: () => timed(() => once(spawn(process.execPath, ['-e', '0'], { stdio: 'ignore' }), 'exit')),
});
