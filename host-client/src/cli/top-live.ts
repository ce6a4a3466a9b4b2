import { emitKeypressEvents, type Key } from 'node:readline';
import type { Agent } from '../index.js';
import { FullScreen } from './full-screen.js';
import { oneLine } from './session-cells.js';
import { topLines } from './top-screen.js';
import type { UsageOrder } from './usage.js';
import { type Measured, usageSeries } from './usage-series.js';

const orderKeys: Readonly<Record<string, UsageOrder>> = { c: 'cpu', m: 'memory', p: 'processes', n: 'name' };

/** Shows each measurement on a screen of its own until `q` or Ctrl-C is typed. */
export async function watchLive(
  agent: Agent,
  { sort, interval }: { readonly sort: UsageOrder; readonly interval: number },
  stopped: AbortSignal,
): Promise<void> {
  let order = sort;
  let newest: Measured | undefined;
  let trouble = '';
  const title = `hawser top: ${oneLine(agent.line)}, every ${interval / 1000} s`;
  using screen = new FullScreen();
  const redraw = (): void => {
    const { usages, omitted = 0 } = newest ?? {};
    screen.draw(topLines({ title: `${title}${trouble}`, usages, omitted, order }, screen.size));
  };
  const quit = new AbortController();
  const left = AbortSignal.any([quit.signal, stopped]);
  left.addEventListener('abort', () => screen.leave(), { once: true });
  agent.onState = (state) => {
    trouble = state === 'resuming' ? ' - the connection is lost, and is being resumed' : '';
    redraw();
  };
  screen.enter(redraw);
  const releaseKeys = onKeys((key) => {
    const chosen = orderKeys[key];
    if (key === 'q' || key === 'ctrl-c') quit.abort();
    else if (key === 'ctrl-z') screen.suspend();
    else if (chosen !== undefined) {
      order = chosen;
      redraw();
    }
  });
  try {
    for await (const measured of usageSeries(agent, interval, left)) {
      newest = measured;
      redraw();
    }
  } finally {
    releaseKeys();
  }
}

const named: Readonly<Record<string, string>> = { '\x03': 'ctrl-c', '\x1a': 'ctrl-z' };

/**
 * Calls for each key that is typed; those that come as a sequence, arrows for one, are none of ours.
 *
 * @returns what lets go of standard input
 */
function onKeys(pressed: (key: string) => void): () => void {
  emitKeypressEvents(process.stdin);
  const typed = (_text: string | undefined, { sequence = '' }: Key): void =>
    pressed(named[sequence] ?? sequence);
  // A terminal that was hung up, or whose input ended, cannot be quit by a key.
  const ended = (): void => pressed('q');
  process.stdin.on('keypress', typed).on('end', ended).on('error', ended);
  return () => void process.stdin.destroy();
}
