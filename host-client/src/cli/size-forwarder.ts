import type { TerminalSize } from '@hawser/protocol';
import { localTerminalSize } from './terminal.js';

interface Resizable {
  resize(size: TerminalSize): Promise<void>;
}

/** Tells a session the size of the local terminal whenever it changes: one message at a time, and the last size wins. */
export class SizeForwarder {
  readonly #session: Resizable;
  #sent: TerminalSize | undefined;
  #sending = false;
  readonly #changed = (): void => void this.#forward();
  /** While this program was stopped, changes were signalled to others; node looks at the size on SIGWINCH only. */
  readonly #continued = (): void => void process.kill(process.pid, 'SIGWINCH');

  /** @param sent the size that the session started with */
  constructor(session: Resizable, sent: TerminalSize | undefined) {
    this.#session = session;
    this.#sent = sent;
  }

  start(): void {
    process.on('SIGWINCH', this.#changed);
    process.on('SIGCONT', this.#continued);
    this.#changed(); // it may have changed while the command was being started
  }

  stop(): void {
    process.off('SIGWINCH', this.#changed);
    process.off('SIGCONT', this.#continued);
  }

  async #forward(): Promise<void> {
    if (this.#sending) return;
    this.#sending = true;
    try {
      for (
        let size = localTerminalSize();
        size !== undefined && !same(size, this.#sent);
        size = localTerminalSize()
      ) {
        this.#sent = size;
        await this.#session.resize(size);
      }
    } catch {
      // The session or its connection has ended; its exit says so.
    } finally {
      this.#sending = false;
    }
  }
}

function same(a: TerminalSize, b: TerminalSize | undefined): boolean {
  return a.rows === b?.rows && a.cols === b.cols;
}
