const nothing = new Uint8Array(0);

/**
 * Looks for the detach keys in what is typed. Bytes that may be their beginning are held back until it is known
 * whether they are; those of a sequence that does not go on are passed on.
 */
export class DetachKeyFilter {
  readonly #keys: Uint8Array;
  /** Of each beginning of the keys, how long the longest shorter one is that it ends in (Knuth, Morris and Pratt). */
  readonly #fallback: number[] = [];
  #matched = 0;

  /** @param keys none: everything passes. */
  constructor(keys: Uint8Array) {
    this.#keys = keys;
    for (let length = 1; length <= keys.length; length++) {
      let shorter = length - 1;
      do {
        shorter = shorter === 0 ? -1 : (this.#fallback[shorter - 1] as number);
      } while (shorter >= 0 && keys[shorter] !== keys[length - 1]);
      this.#fallback.push(shorter + 1);
    }
  }

  /** Bytes are being held back. */
  get holds(): boolean {
    return this.#matched > 0;
  }

  /** @returns what is to be passed on; whether the keys were complete, and then what follows them is not looked at. */
  push(bytes: Uint8Array): { readonly passed: Uint8Array; readonly detach: boolean } {
    const keys = this.#keys;
    if (keys.length === 0) return { passed: bytes, detach: false };
    const passed = new Uint8Array(this.#matched + bytes.length);
    let length = 0;
    for (const byte of bytes) {
      while (this.#matched > 0 && keys[this.#matched] !== byte) {
        const kept = this.#fallback[this.#matched - 1] as number;
        passed.set(keys.subarray(0, this.#matched - kept), length);
        length += this.#matched - kept;
        this.#matched = kept;
      }
      if (keys[this.#matched] !== byte) {
        passed[length++] = byte;
        continue;
      }
      this.#matched++;
      if (this.#matched < keys.length) continue;
      this.#matched = 0;
      return { passed: passed.subarray(0, length), detach: true };
    }
    return { passed: passed.subarray(0, length), detach: false };
  }

  /** The sequence does not go on. @returns what was held back. */
  release(): Uint8Array {
    const held = this.#matched === 0 ? nothing : this.#keys.slice(0, this.#matched);
    this.#matched = 0;
    return held;
  }
}
