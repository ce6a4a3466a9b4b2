/** A queue whose `take` costs the same however long it is. */
export class Fifo<T> {
  #items: T[] = [];
  #first = 0;

  get length(): number {
    return this.#items.length - this.#first;
  }

  add(item: T): void {
    this.#items.push(item);
  }

  take(): T | undefined {
    const item = this.#items[this.#first];
    if (item === undefined) return undefined;
    this.#first++;
    if (this.#first === this.#items.length) this.clear();
    else if (this.#first >= keptMax && this.#first * 2 >= this.#items.length) this.#forgetTaken();
    return item;
  }

  clear(): void {
    this.#items = [];
    this.#first = 0;
  }

  #forgetTaken(): void {
    this.#items = this.#items.slice(this.#first);
    this.#first = 0;
  }
}

/** So many places of taken items are kept before the rest is moved up. */
const keptMax = 64;
