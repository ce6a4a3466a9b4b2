import { LocalTerminal, localTerminalSize } from './terminal.js';

/** The alternate screen, without a cursor, and long lines not broken (xterm's control sequences). */
const enterSequence = '\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J';
const leaveSequence = '\x1b[?7h\x1b[?25h\x1b[?1049l';

/** The local terminal as a screen of our own: raw, without what was on it, and put back on every way out. */
export class FullScreen implements Disposable {
  readonly #terminal = new LocalTerminal();
  #redraw: () => void = () => undefined;
  #state: 'left' | 'entered' | 'suspended' = 'left';
  readonly #leave = (): void => this.leave();
  readonly #continued = (): void => this.#enter();

  /** @param redraw called now, and when what was drawn is gone, or the size is another. */
  enter(redraw: () => void): void {
    this.#redraw = redraw;
    process.once('exit', this.#leave);
    process.once('uncaughtExceptionMonitor', this.#leave);
    process.on('SIGCONT', this.#continued);
    process.stdout.on('resize', this.#redraw);
    this.#enter();
  }

  /** Rows and columns; those of a terminal without a size are the usual ones. */
  get size(): { readonly rows: number; readonly cols: number } {
    return localTerminalSize() ?? { rows: 24, cols: 80 };
  }

  /** Replaces what is shown. */
  draw(lines: readonly string[]): void {
    if (this.#state !== 'entered') return;
    // Erased first: behind a line as wide as the terminal, the cursor is on its last character.
    process.stdout.write(`\x1b[H${lines.map((line) => `\x1b[K${line}`).join('\r\n')}`);
  }

  /** Gives the terminal back to the shell, as Ctrl-Z does, until this program is continued. */
  suspend(): void {
    if (this.#state !== 'entered') return;
    this.#putBack();
    this.#state = 'suspended';
    process.kill(0, 'SIGTSTP');
    // Where no shell would continue it, the kernel does not stop it.
    setImmediate(() => {
      if (this.#state === 'suspended') this.#enter();
    });
  }

  leave(): void {
    if (this.#state === 'left') return;
    process.off('exit', this.#leave);
    process.off('uncaughtExceptionMonitor', this.#leave);
    process.off('SIGCONT', this.#continued);
    process.stdout.off('resize', this.#redraw);
    if (this.#state === 'entered') this.#putBack();
    this.#state = 'left';
  }

  [Symbol.dispose](): void {
    this.leave();
  }

  #enter(): void {
    this.#state = 'entered';
    this.#terminal.enterRaw();
    process.stdout.write(enterSequence);
    this.#redraw();
  }

  #putBack(): void {
    process.stdout.write(leaveSequence);
    this.#terminal.restore();
  }
}
