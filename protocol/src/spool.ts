import { spoolBytesMin } from './limits.js';

/** A connection, as its spools see it. */
export interface SpoolOwner {
  /** A frame that lies in `buffer` may not have been sent yet. */
  sending(buffer: Uint8Array): boolean;
}

/**
 * The memory that all spools of one process share. Buffers come in powers of two and are used again,
 * but only by their owner (a connection): what was freed may still be on its way to the line, since it
 * is the peer who says what it has consumed, and no peer may get to see another's bytes.
 */
export class SpoolBudget {
  readonly bytesMax: number;
  #bytes = 0;
  readonly #free = new Map<SpoolOwner, Map<number, Uint8Array[]>>();
  #freeBytes = 0;
  #promisedBytes = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** Memory in spools now, bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** @returns a buffer of `bytes`, or `undefined` when the budget does not hold it and it is not `urgent`. */
  take(owner: SpoolOwner, bytes: number, urgent: boolean): Uint8Array | undefined {
    const pooled = this.#free.get(owner)?.get(bytes)?.pop();
    if (pooled !== undefined) {
      this.#freeBytes -= bytes;
      this.#bytes += bytes;
      return pooled;
    }
    if (this.#bytes + this.#freeBytes + bytes > this.bytesMax) this.#forgetFree();
    if (this.#bytes + bytes > this.bytesMax && !urgent) return undefined;
    this.#bytes += bytes;
    return Buffer.allocUnsafeSlow(bytes);
  }

  /** @param reusable its bytes were all consumed, as far as the peer may be believed. */
  giveBack(owner: SpoolOwner, buffer: Uint8Array, reusable: boolean): void {
    const bytes = buffer.length;
    this.#bytes -= bytes;
    if (
      !reusable ||
      this.#bytes + this.#freeBytes + bytes > this.bytesMax ||
      this.#freeBytes + bytes > freeBytesMax
    )
      return;
    let lists = this.#free.get(owner);
    if (lists === undefined) this.#free.set(owner, (lists = new Map<number, Uint8Array[]>()));
    const list = lists.get(bytes);
    if (list === undefined) lists.set(bytes, [buffer]);
    else list.push(buffer);
    this.#freeBytes += bytes;
  }

  /**
   * Sets memory aside for credit that is about to be given: what a peer was allowed to send has to be
   * taken, whatever else is held then. At most half of the budget is promised.
   *
   * @returns whether that may be; the receiver of the credit calls `unpromise` when it is over.
   */
  promise(bytes: number): boolean {
    if (this.#promisedBytes + bytes > this.bytesMax / 2) return false;
    this.#promisedBytes += bytes;
    return true;
  }

  unpromise(bytes: number): void {
    this.#promisedBytes -= bytes;
  }

  /** The owner is gone: nothing is kept at hand for it. */
  forget(owner: SpoolOwner): void {
    for (const [bytes, list] of this.#free.get(owner) ?? []) this.#freeBytes -= bytes * list.length;
    this.#free.delete(owner);
  }

  #forgetFree(): void {
    this.#free.clear();
    this.#freeBytes = 0;
  }
}

/** What the budget keeps at hand for the next spool, bytes. */
const freeBytesMax = 8 * 1024 * 1024;

const noBuffer = new Uint8Array(0);

/**
 * One stream's bytes from the moment they are produced until the other side has consumed them: a
 * ring addressed by absolute stream positions, `start <= end`.
 *
 * It takes no memory while it is empty, starts small and grows fourfold up to `bytesMax` while the
 * budget allows. Views stay valid until their bytes are freed.
 */
export class Spool {
  readonly #budget: SpoolBudget;
  readonly #owner: SpoolOwner;
  readonly #bytesMax: number;
  #buffer: Uint8Array = noBuffer;
  #start = 0;
  #end = 0;

  /**
   * @param owner whose memory it is: only spools of the same owner use it again.
   * @param bytesMax the most that the ring holds (rounded up to a power of two); see `reserve` for the one exception.
   */
  constructor(budget: SpoolBudget, owner: SpoolOwner, bytesMax: number) {
    this.#budget = budget;
    this.#owner = owner;
    this.#bytesMax = powerOfTwo(Math.max(bytesMax, spoolBytesMin));
  }

  /** Position of the oldest byte that is still held. */
  get start(): number {
    return this.#start;
  }

  /** Position behind the newest byte: how many bytes the stream has carried. */
  get end(): number {
    return this.#end;
  }

  get bytes(): number {
    return this.#end - this.#start;
  }

  /** Memory held, bytes. */
  get memoryBytes(): number {
    return this.#buffer.length;
  }

  /**
   * Contiguous room for the producer to fill, then `commit`. Empty when the spool is full, which
   * changes with `free`.
   */
  room(): Uint8Array {
    const used = this.bytes;
    if (used === this.#buffer.length && !this.#growUnlessFull()) return noBuffer;
    const at = this.#index(this.#end);
    const until = used > 0 && this.#index(this.#start) > at ? this.#index(this.#start) : this.#buffer.length;
    return this.#buffer.subarray(at, until);
  }

  /** The first `bytes` of `room()` were filled. */
  commit(bytes: number): void {
    this.#end += bytes;
    // A producer that fills all it is offered wants more: the next read is then larger.
    if (this.bytes === this.#buffer.length) this.#growUnlessFull();
  }

  /** Copies in what there is room for. @returns the number of bytes taken. */
  write(bytes: Uint8Array): number {
    let taken = 0;
    while (taken < bytes.length) {
      const room = this.room();
      if (room.length === 0) break;
      const part = bytes.subarray(taken, taken + room.length);
      room.set(part);
      this.#end += part.length;
      taken += part.length;
    }
    return taken;
  }

  /**
   * Makes room for `bytes` more, beyond `bytesMax` and the budget if need be: for the one last read
   * of a pipe whose writer is dead, at most one pipe's capacity.
   */
  reserve(bytes: number): void {
    if (this.#buffer.length - this.bytes < bytes) this.#grow(powerOfTwo(this.bytes + bytes), true);
  }

  /** At most `bytes` from position `from` on, as far as they lie in one piece. */
  view(from: number, bytes: number): Uint8Array {
    const at = this.#index(from);
    const length = Math.min(bytes, this.#end - from, this.#buffer.length - at);
    return this.#buffer.subarray(at, at + length);
  }

  /** Everything before position `until` was consumed and is not asked for again. */
  free(until: number): void {
    if (until <= this.#start) return;
    this.#start = Math.min(until, this.#end);
    if (this.#start === this.#end) this.#rest();
  }

  /** Nothing of it is needed any more. Frames of it may still be on their way. */
  close(): void {
    this.#start = this.#end;
    this.#release(false);
  }

  /** An empty ring that had grown goes back to the budget; a small one stays while its stream lives. */
  #rest(): void {
    if (this.#buffer.length > spoolRestBytes) this.#release(true);
  }

  #release(reusable: boolean): void {
    if (this.#buffer.length > 0) this.#budget.giveBack(this.#owner, this.#buffer, reusable);
    this.#buffer = noBuffer;
  }

  #index(position: number): number {
    // Lengths are powers of two; positions pass 2^32, where bit operators would not do.
    return position % this.#buffer.length;
  }

  #growUnlessFull(): boolean {
    const bytes = this.#buffer.length;
    if (bytes >= this.#bytesMax) return false;
    const wanted = Math.min(Math.max(bytes * 4, spoolBytesMin), this.#bytesMax);
    return this.#grow(wanted, false) || (wanted > bytes * 2 && bytes > 0 && this.#grow(bytes * 2, false));
  }

  #grow(bytes: number, urgent: boolean): boolean {
    const next = this.#budget.take(this.#owner, bytes, urgent || bytes <= spoolBytesMin);
    if (next === undefined) return false;
    const old = this.#buffer;
    for (let from = this.#start; from < this.#end; ) {
      const part = this.view(from, this.#end - from);
      next.set(part.subarray(0, next.length - (from % next.length)), from % next.length);
      from += Math.min(part.length, next.length - (from % next.length));
    }
    this.#buffer = next;
    // What is still being sent from the old one is left to the collector.
    if (old.length > 0) this.#budget.giveBack(this.#owner, old, !this.#owner.sending(old));
    return true;
  }
}

/** A ring of at most this size is kept when it runs empty. */
const spoolRestBytes = 64 * 1024;

function powerOfTwo(bytes: number): number {
  return 2 ** Math.ceil(Math.log2(bytes));
}
