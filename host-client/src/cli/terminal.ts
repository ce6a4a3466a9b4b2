import { spawnSync } from 'node:child_process';
import type { TerminalSize } from '@hawser/protocol';

/** A terminal in the background stops whoever changes it: stty must not hang for ever. */
const sttyTimeoutMs = 2000;

type State =
  | { readonly at: 'untouched' }
  /** `modes` as `stty -g` printed them. */
  | { readonly at: 'raw'; readonly by: 'stty'; readonly modes: string }
  | { readonly at: 'raw'; readonly by: 'node' };

/**
 * The terminal on standard input: makes it raw, and puts it back on every way out.
 *
 * By stty(1), because node's `setRawMode` leaves output processing on, which turns each 0x0A that
 * the command writes into 0x0D 0x0A. Where there is no stty, `setRawMode` is better than nothing.
 */
export class LocalTerminal {
  #state: State = { at: 'untouched' };
  readonly #restore = (): void => this.restore();
  readonly #continued = (): void => this.#makeRaw();

  enterRaw(): void {
    if (this.#state.at === 'raw') return;
    const modes = stty('-g')?.trim();
    this.#state = modes ? { at: 'raw', by: 'stty', modes } : { at: 'raw', by: 'node' };
    process.once('exit', this.#restore);
    // Before an uncaught exception is printed, not after.
    process.once('uncaughtExceptionMonitor', this.#restore);
    // A shell puts its own modes in place when this program is stopped.
    process.on('SIGCONT', this.#continued);
    this.#makeRaw();
  }

  get isRaw(): boolean {
    return this.#state.at === 'raw';
  }

  restore(): void {
    const state = this.#state;
    if (state.at === 'untouched') return;
    this.#state = { at: 'untouched' };
    process.off('exit', this.#restore);
    process.off('uncaughtExceptionMonitor', this.#restore);
    process.off('SIGCONT', this.#continued);
    if (state.by === 'stty') stty(state.modes);
    else process.stdin.setRawMode(false);
  }

  #makeRaw(): void {
    if (this.#state.at !== 'raw') return;
    if (this.#state.by === 'stty') stty('raw', '-echo', '-iexten');
    else process.stdin.setRawMode(true);
  }
}

/** The size of the terminal that the output goes to, or that the input comes from; nothing for one without a size. */
export function localTerminalSize(): TerminalSize | undefined {
  for (const stream of [process.stdout, process.stderr]) {
    if (!stream.isTTY) continue;
    const [cols, rows] = stream.getWindowSize();
    return rows > 0 && cols > 0 ? { rows, cols } : undefined;
  }
  if (!process.stdin.isTTY) return undefined;
  const [rows = 0, cols = 0] = (stty('size') ?? '').trim().split(' ').map(Number);
  return rows > 0 && cols > 0 ? { rows, cols } : undefined;
}

/** Runs stty on standard input; `undefined` where it is missing or refuses. */
function stty(...args: string[]): string | undefined {
  const { status, stdout } = spawnSync('stty', args, {
    stdio: ['inherit', 'pipe', 'ignore'],
    encoding: 'utf8',
    timeout: sttyTimeoutMs,
    killSignal: 'SIGKILL',
  });
  return status === 0 ? stdout : undefined;
}
