import type { SignalOptions } from '../options.js';
import { signalExitCode } from './exit-code.js';

const forwarded = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const;
type Forwarded = (typeof forwarded)[number];

/** A second SIGINT within so long of the first, with the command still there, kills it. */
const impatienceMs = 1000;
/** In a terminal a shell ignores SIGTERM: after so long the command is killed, so that this program goes when told to. */
const terminalGraceMs = 2000;

interface Signalled {
  signal(signal: string, options?: SignalOptions): Promise<void>;
  kill(): Promise<void>;
  readonly exited: Promise<unknown>;
}

type State =
  | { readonly at: 'starting'; readonly early: Forwarded[] }
  | { readonly at: 'running'; readonly session: Signalled }
  /** The command is gone; what it wrote waits for a reader here. */
  | { readonly at: 'draining' };

/**
 * Passes the signals that this program gets to the command. Before the command runs, one that would end this program
 * ends the attempt instead.
 */
export class SignalForwarder {
  #state: State = { at: 'starting', early: [] };
  readonly #terminal: boolean;
  readonly #abort = new AbortController();
  #endedBy: Forwarded | undefined;
  #interruptedAt = Number.NEGATIVE_INFINITY;
  #grace: NodeJS.Timeout | undefined;
  readonly #received = (signal: NodeJS.Signals): void => this.#take(signal as Forwarded);

  /** @param terminal the local terminal is raw: Ctrl-C is a byte, and signals come from elsewhere */
  constructor(terminal: boolean) {
    this.#terminal = terminal;
    for (const signal of forwarded) process.on(signal, this.#received);
  }

  /** Aborted by a signal that came before the command ran. */
  get aborted(): AbortSignal {
    return this.#abort.signal;
  }

  /** The signal that ended the attempt to start the command. */
  get endedBy(): string | undefined {
    return this.#endedBy;
  }

  attach(session: Signalled): void {
    if (this.#state.at !== 'starting') return;
    const { early } = this.#state;
    this.#state = { at: 'running', session };
    settle(session.exited.finally(() => this.#drain()));
    for (const signal of early) this.#forward(session, signal);
  }

  [Symbol.dispose](): void {
    this.#drain();
    for (const signal of forwarded) process.off(signal, this.#received);
  }

  #drain(): void {
    this.#state = { at: 'draining' };
    clearTimeout(this.#grace);
  }

  #take(signal: Forwarded): void {
    const state = this.#state;
    switch (state.at) {
      case 'starting':
        if (signal === 'SIGUSR1' || signal === 'SIGUSR2') return void state.early.push(signal);
        this.#endedBy ??= signal;
        return this.#abort.abort();
      case 'running':
        return this.#forward(state.session, signal);
      case 'draining':
        // Nobody is there to pass it on to, and the reader may never come. Output is lost, as with any program.
        process.exit(signalExitCode(signal));
    }
  }

  #forward(session: Signalled, signal: Forwarded): void {
    if (signal === 'SIGINT' && this.#isImpatient()) return settle(session.kill());
    if (this.#terminal && (signal === 'SIGTERM' || signal === 'SIGHUP')) {
      if (this.#grace !== undefined) return settle(session.kill());
      this.#grace = setTimeout(() => settle(session.kill()), terminalGraceMs);
    }
    settle(session.signal(signal));
  }

  #isImpatient(): boolean {
    const now = performance.now();
    const sinceLastMs = now - this.#interruptedAt;
    this.#interruptedAt = now;
    return sinceLastMs < impatienceMs;
  }
}

/** The session may have ended meanwhile, or the line be lost: both are reported where the exit is awaited. */
function settle(request: Promise<unknown>): void {
  request.catch(() => undefined);
}
