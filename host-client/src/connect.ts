import type { Duplex } from 'node:stream';
import type { Line } from '@hawser/protocol';
import { Agent } from './agent.js';
import type { ConnectOptions } from './options.js';
import type { OpenLineOptions } from './transports/connect-line.js';
import { canBeReopened, openLine } from './transports/connect-line.js';
import { DuplexLine } from './transports/duplex-line.js';
import { isWithoutRelay, openByRelay, relayOf } from './transports/relay-line.js';

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
 * A serial port that a relay shares (`hawser relay`) is reached through it, as is a Unix socket for which there is one.
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
  const { opened, open } = await openFirst(
    line,
    { signal: options.signal, timeoutMs },
    options.relay ?? true,
  );
  const reopen = canBeReopened(line)
    ? (signal: AbortSignal): Promise<Line> => open({ signal, timeoutMs })
    : undefined;
  return Agent.greet(opened, options, reopen);
}

interface Opened {
  readonly opened: Line;
  /** Opens it the same way again: a client of a relay waits for that, and does not take the line away from it. */
  readonly open: (options: OpenLineOptions) => Promise<Line>;
}

async function openFirst(spec: string, options: OpenLineOptions, byRelay: boolean): Promise<Opened> {
  const relay = byRelay ? relayOf(spec) : undefined;
  if (relay !== undefined) {
    try {
      const open = (again: OpenLineOptions): Promise<Line> => openByRelay(spec, relay, again);
      return { opened: await open(options), open };
    } catch (error) {
      if (!isWithoutRelay(error)) throw error;
    }
  }
  return { opened: await openLine(spec, options), open: (again) => openLine(spec, again) };
}
