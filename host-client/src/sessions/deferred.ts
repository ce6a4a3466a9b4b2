import type { HawserError } from '@hawser/protocol';

type Outcome<T> = { readonly value: T } | { readonly error: HawserError };

/**
 * A promise with its two ends; rejections that nobody waits for are no fault. It is made when somebody asks for
 * it: of a command's three most callers wait for one, and each costs what encoding a message does.
 */
export class Deferred<T> {
  #outcome: Outcome<T> | undefined;
  #promise: Promise<T> | undefined;
  #settle: (() => void) | undefined;

  get promise(): Promise<T> {
    if (this.#promise === undefined) {
      this.#promise = new Promise<T>((resolve, reject) => {
        this.#settle = () => {
          const outcome = this.#outcome as Outcome<T>;
          if ('error' in outcome) reject(outcome.error);
          else resolve(outcome.value);
        };
      });
      this.#promise.catch(() => {});
      if (this.#outcome !== undefined) this.#settle?.();
    }
    return this.#promise;
  }

  /** Ended well. */
  get resolved(): boolean {
    return this.#outcome !== undefined && 'value' in this.#outcome;
  }

  /** The first end counts. */
  resolve(value: T): void {
    this.#end({ value });
  }

  reject(error: HawserError): void {
    this.#end({ error });
  }

  #end(outcome: Outcome<T>): void {
    if (this.#outcome !== undefined) return;
    this.#outcome = outcome;
    this.#settle?.();
  }
}
