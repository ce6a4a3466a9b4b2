import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { hostVersion } from '../version.js';
import { execTool } from './exec.js';
import type { Guest } from './guest.js';
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

/** A server with every tool, for a guest; connect it to a transport. */
export function createServer(guest: Guest): McpServer {
  const server = new McpServer({ name: 'hawser', title: 'Hawser', version: hostVersion }, { instructions });
  registerTool(server, guest, execTool);
  registerTool(server, guest, startProcessTool);
  registerTool(server, guest, listProcessesTool);
  registerTool(server, guest, processStatsTool);
  registerTool(server, guest, readProcessOutputTool);
  registerTool(server, guest, writeProcessInputTool(new StdinWriters()));
  registerTool(server, guest, waitForProcessTool);
  registerTool(server, guest, killProcessTool);
  return server;
}
