import type { Agent } from '../index.js';
import { harmless, printLine } from './report.js';

/** A line that loses a byte now and then resumes within milliseconds: nobody has to hear of that. */
const patienceMs = 1_000;

/**
 * Says on standard error when the connection has been resuming for a while, and when it is back.
 *
 * @param quiet asked each time: nothing is written into the output of a raw terminal.
 */
export function noteConnection(agent: Agent, quiet: () => boolean): void {
  let timer: NodeJS.Timeout | undefined;
  let told = false;
  agent.onState = (state, reason) => {
    clearTimeout(timer);
    if (state === 'resuming') {
      timer = setTimeout(() => {
        if (quiet()) return;
        told = true;
        void printLine(
          `hawser: the connection is lost, and is being resumed: ${harmless(reason?.message ?? '')}`,
        );
      }, patienceMs).unref();
    } else if (state === 'connected' && told) {
      told = false;
      if (!quiet()) void printLine('hawser: connected again, nothing is lost');
    }
  };
}
