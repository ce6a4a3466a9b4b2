import { HawserError } from '@hawser/protocol';
import type { RunningRelayEvent } from '../relay/running-relay.js';
import { RunningRelay } from '../relay/running-relay.js';
import { exitCodes } from './exit-code.js';
import { harmless, printError, printLine } from './report.js';

export interface RelayFlags {
  readonly listen?: readonly string[];
  readonly verbose?: true;
}

/** `hawser relay`: shares the line until SIGINT or SIGTERM comes; resolves with the exit code. */
export async function relay(line: string, flags: RelayFlags): Promise<number> {
  const ended = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
  });
  try {
    const listen = (flags.listen ?? []).map(socketPath);
    const running = await RunningRelay.start(line, {
      listen,
      event: (event) => void report(line, event, flags.verbose === true),
    });
    // In one write: whoever waits for the first waits for all.
    await printLine(running.paths.map((path) => `hawser: relaying ${line} on unix:${path}`).join('\n'));
    await ended;
    running.close();
    return 0;
  } catch (error) {
    await printError(error, undefined);
    return exitCodes.hawserFailed;
  }
}

/** `unix:PATH`, as the agent's `--listen` has it. */
function socketPath(spec: string): string {
  const [, path] = /^unix:(.+)$/s.exec(spec) ?? [];
  if (path === undefined)
    throw new HawserError('invalid_argument', `${spec} is nothing that a relay listens on: unix:PATH`);
  return path;
}

/** What an operator has to know always; what clients do, when asked. */
async function report(line: string, event: RunningRelayEvent, verbose: boolean): Promise<void> {
  switch (event.kind) {
    case 'line_lost':
      return say(`${line} was lost, opening it again: ${event.reason?.message ?? 'it was closed'}`);
    case 'line_opened':
      return say(`${line} is open again`);
    case 'cut_off':
      return say(`cut off the client on lane ${event.lane}: it left ${event.backlogBytes} bytes untaken`);
    case 'refused':
      return say('refused a client: every lane is taken');
    case 'line_open_failed':
      return verbose ? say(event.error.message) : undefined;
    case 'joined':
      return verbose ? say(`a client on lane ${event.lane}`) : undefined;
    case 'left':
      return verbose
        ? say(
            `the client on lane ${event.lane} left${event.reason === undefined ? '' : `: ${event.reason.message}`}`,
          )
        : undefined;
  }
}

function say(text: string): Promise<void> {
  return printLine(`hawser: ${harmless(text)}`);
}
