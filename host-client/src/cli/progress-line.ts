const refreshMs = 100;

/**
 * One line on standard error that says what is waited for and for how long. Nothing is written where that is no terminal,
 * so that logs stay clean.
 */
export class ProgressLine {
  readonly #startedMs = performance.now();
  #text = '';
  #timer: NodeJS.Timeout | undefined;

  show(text: string): void {
    if (!process.stderr.isTTY) return;
    this.#text = text;
    this.#timer ??= setInterval(() => this.#draw(), refreshMs);
    this.#draw();
  }

  /** Takes the line away. */
  [Symbol.dispose](): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    process.stderr.write('\r\x1b[K');
  }

  #draw(): void {
    const seconds = (performance.now() - this.#startedMs) / 1000;
    process.stderr.write(`\r\x1b[K${this.#text} ${seconds.toFixed(1)} s`);
  }
}
