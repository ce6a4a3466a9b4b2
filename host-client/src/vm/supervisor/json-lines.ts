/** Both ends are ours; a line longer than this is a mistake. */
const lineCharactersMax = 1024 * 1024;

/** Cuts text into lines of JSON. */
export class JsonLines {
  readonly #onValue: (value: unknown) => void;
  #text = '';

  /** @param onValue called for each line, in order; what JSON.parse throws is thrown by `push` */
  constructor(onValue: (value: unknown) => void) {
    this.#onValue = onValue;
  }

  push(chunk: string): void {
    this.#text += chunk;
    for (let end = this.#text.indexOf('\n'); end >= 0; end = this.#text.indexOf('\n')) {
      const line = this.#text.slice(0, end);
      this.#text = this.#text.slice(end + 1);
      this.#onValue(JSON.parse(line));
    }
    if (this.#text.length > lineCharactersMax)
      throw new SyntaxError(`a line exceeds ${lineCharactersMax} characters`);
  }
}
