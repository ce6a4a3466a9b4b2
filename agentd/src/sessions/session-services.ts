import type { Clock, Limits, SpoolBudget } from '@hawser/protocol';
import type { Containment } from '../processes/containment/containment.js';
import type { Launcher } from '../processes/launcher.js';
import type { Poller } from '../processes/poller.js';
import type { Terminals } from '../processes/pseudo-terminal.js';
import type { ExecSession } from './exec-session.js';

/** What a session needs of the agent. */
export interface SessionServices {
  readonly poller: Poller;
  readonly launcher: Launcher;
  readonly containment: Containment;
  readonly terminals: Terminals;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly budget: SpoolBudget;
  /** Sessions whose leader lives, or is still to come. */
  running(): number;
  /** A session's launch has failed, or its leader is dead: it takes no more of `sessionsMax`. */
  stoppedRunning(session: ExecSession): void;
  /** The leader is dead and was waited for. */
  leaderReaped(session: ExecSession): void;
  /** It has ended, no host is attached, and its output stays for whoever comes. */
  kept(session: ExecSession): void;
  /** Nothing of it is left but its `lastRecord`. */
  over(session: ExecSession): void;
}
