import type { Duplex } from 'node:stream';
import { Agent } from './agent.js';
import type { ConnectOptions } from './options.js';
import { canBeReopened, openLine } from './transports/connect-line.js';
import { DuplexLine } from './transports/duplex-line.js';

/**
 * Connects to the agent at the other end of a line:
 *
 * - `unix:PATH`, a Unix socket
 * - `uart:DEVICE[?baud=115200]`, a serial port or a pty
 * - `vsock:CID:PORT`
 * - `firecracker:PATH:PORT`, the Unix socket that Firecracker and Cloud Hypervisor make for vsock
 * - `exec:COMMAND`, a shell command whose stdin and stdout are the line, `ssh` or `kubectl exec` for one
 * - `local:`, an agent started here for the purpose
 * - `vm:NAME`, a VM that `launchVm` or `hawser run` started
 * - or any Duplex stream
 *
 * A line that is lost is opened again, and everything goes on where it was; `local:` and a Duplex cannot be.
 *
 * @throws HawserError `line_open_failed`, `handshake_timeout`, `rejected`, `unsupported`, `aborted`, `missing_dependency`.
 * @example
 * await using agent = await connect('unix:/run/hawser.sock');
 */
export async function connect(line: string | Duplex, options: ConnectOptions = {}): Promise<Agent> {
  if (typeof line !== 'string') return Agent.greet(new DuplexLine(line), options);
  const timeoutMs = options.handshakeTimeoutMs;
  const reopen = canBeReopened(line)
    ? (signal: AbortSignal) => openLine(line, { signal, timeoutMs })
    : undefined;
  return Agent.greet(await openLine(line, { signal: options.signal, timeoutMs }), options, reopen);
}
