import type { Readable, Writable } from 'node:stream';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import type { Agent } from '../agent.js';
import { hostVersion } from '../version.js';
import { execTool } from './exec.js';
import { Guest } from './guest.js';
import { killProcessTool } from './kill-process.js';
import { listProcessesTool } from './list-processes.js';
import { processStatsTool } from './process-stats.js';
import { readProcessOutputTool } from './read-process-output.js';
import { startProcessTool } from './start-process.js';
import { StdinWriters } from './stdin-writers.js';
import { registerTool } from './tool.js';
import { waitForProcessTool } from './wait-for-process.js';
import { writeProcessInputTool } from './write-process-input.js';

const instructions = `Runs commands inside a virtual machine, the guest, which is not the machine that you or the user work on: it has its own files, users, processes and clock.
- exec runs a command to its end, for up to about a minute. Everything that it started ends with it.
- start_process starts what takes longer or has to stay, and returns a processId for the other tools: read_process_output (with waitMs to follow), write_process_input, wait_for_process, process_stats, kill_process.
- Long outputs come in parts: go on with read_process_output from the nextCursor of the answer before.
- An exit code other than 0 is a result. An error says what was wrong, and what to do next.
- The guest may also run processes of others: list_processes shows all that its agent has started. Do not end what you have not started.`;

/** What a client that closes stdin waits for, before it sends a signal, has to be enough for this. */
const leaveMs = 1_000;

export interface Served {
  readonly input: Readable;
  readonly output: Writable;
  /** Resolves when the client is gone, or nobody wants the server any more. */
  readonly stopped: Promise<void>;
  /** What went wrong with the line or with a message, for whoever runs the server. */
  readonly report: (text: string) => void;
}

/**
 * Serves the tools over two streams until `stopped`. Calls that are under way are cancelled then, and what `exec`
 * started is killed.
 */
export async function serve(agent: Agent, { input, output, stopped, report }: Served): Promise<void> {
  const guest = new Guest(agent);
  const writers = new StdinWriters();
  const server = createServer(guest, writers);
  const told = agent.onState;
  agent.onState = (state, reason) => {
    told(state, reason);
    guest.changed();
  };
  // oxlint-disable-next-line unicorn/prefer-add-event-listener -- it is the SDK's one way to be told
  server.server.onerror = (error) => report(error.message);
  await server.connect(new StdioServerTransport(input, output));
  const lost = agent.closed.then((reason) => `the connection is over: ${reason.message}`);
  const end = await Promise.race([lost, stopped]);
  if (end !== undefined) report(end);
  await stopped;
  await server.close();
  await writers.leave(leaveMs);
}

function createServer(guest: Guest, writers: StdinWriters): McpServer {
  const server = new McpServer({ name: 'hawser', title: 'Hawser', version: hostVersion }, { instructions });
  registerTool(server, guest, execTool);
  registerTool(server, guest, startProcessTool);
  registerTool(server, guest, listProcessesTool);
  registerTool(server, guest, processStatsTool);
  registerTool(server, guest, readProcessOutputTool);
  registerTool(server, guest, writeProcessInputTool(writers));
  registerTool(server, guest, waitForProcessTool);
  registerTool(server, guest, killProcessTool);
  return server;
}
