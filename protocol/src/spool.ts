import { bulkBuffer } from './bulk-buffer.js';
import { spoolBytesMin } from './limits.js';

/**
 * The memory that all spools of one process share. Buffers are used again,
 * but only by their owner (a connection): what was freed may still be on its way to the line, since it
 * is the peer who says what it has consumed, and no peer may get to see another's bytes.
 */
export class SpoolBudget {
  readonly bytesMax: number;
  #bytes = 0;
  readonly #free = new Map<object, Map<number, Uint8Array[]>>();
  #freeBytes = 0;
  #promisedBytes = 0;
  /** The most that was in spools since it was last settled. */
  #peakBytes = 0;
  #settledAtMs = Number.NEGATIVE_INFINITY;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** Memory in spools now, bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** With what is at hand. More than the budget: what went beyond it, being urgent, goes there again. */
  get #keptBytesMax(): number {
    return 1.5 * this.bytesMax;
  }

  /** A quarter is for the smallest pieces, which every stream gets, also when the large ones have taken the rest. */
  get #largeBytesMax(): number {
    return 0.75 * this.bytesMax;
  }

  /** Memory at hand for the next spool, bytes. */
  get freeBytes(): number {
    return this.#freeBytes;
  }

  /** @returns a buffer of `bytes`, or `undefined` when the budget does not hold it and it is not `urgent`. */
  take(owner: object | undefined, bytes: number, urgent: boolean): Uint8Array | undefined {
    if (!urgent && this.#bytes + bytes > this.#largeBytesMax) return undefined;
    const pooled = owner && this.#free.get(owner)?.get(bytes)?.pop();
    if (pooled !== undefined) {
      this.#freeBytes -= bytes;
      this.#use(bytes);
      return pooled;
    }
    this.#evict(this.#bytes + this.#freeBytes + bytes - this.#keptBytesMax);
    this.#use(bytes);
    return bulkBuffer(bytes);
  }

  #use(bytes: number): void {
    this.#bytes += bytes;
    this.#peakBytes = Math.max(this.#peakBytes, this.#bytes);
  }

  /** @param reusable its bytes were all consumed, as far as the peer may be believed. */
  giveBack(owner: object | undefined, buffer: Uint8Array, reusable: boolean): void {
    const bytes = buffer.length;
    this.#bytes -= bytes;
    if (owner === undefined || !reusable || this.#bytes + this.#freeBytes + bytes > this.#keptBytesMax)
      return;
    let lists = this.#free.get(owner);
    if (lists === undefined) this.#free.set(owner, (lists = new Map<number, Uint8Array[]>()));
    const list = lists.get(bytes);
    if (list === undefined) lists.set(bytes, [buffer]);
    else list.push(buffer);
    this.#freeBytes += bytes;
  }

  /**
   * To be called now and then: lets go of what the last seconds did not need. Not as soon as it is given back, since a
   * load has moments in which it holds next to nothing, and what is let go of is garbage until it is collected.
   */
  settle(nowMs: number): void {
    if (nowMs < this.#settledAtMs + settleIntervalMs) return;
    this.#settledAtMs = nowMs;
    this.#evict(this.#bytes + this.#freeBytes - this.#peakBytes - restBytes);
    this.#peakBytes = this.#bytes;
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
  forget(owner: object): void {
    for (const [bytes, list] of this.#free.get(owner) ?? []) this.#freeBytes -= bytes * list.length;
    this.#free.delete(owner);
  }

  /** Lets go of what is at hand, as far as `bytes` have to be had. */
  #evict(bytes: number): void {
    for (let left = bytes; left > 0 && this.#freeBytes > 0; ) {
      for (const lists of this.#free.values()) {
        for (const [size, list] of lists) {
          if (left <= 0 || list.pop() === undefined) continue;
          this.#freeBytes -= size;
          left -= size;
        }
      }
    }
  }
}

/** So much more than was needed is kept at hand, bytes. */
const restBytes = 1024 * 1024;

/** What was not needed for so long is let go of, ms. */
const settleIntervalMs = 3_000;

/**
 * Sizes of a spool's pieces, bytes: the first is small, since most streams carry little. Only two, so
 * that what one stream gives back is what another takes.
 */
const segmentBytes = { first: spoolBytesMin, usual: 64 * 1024 } as const;

interface Segment {
  readonly buffer: Uint8Array;
  /** Stream position of its first byte. */
  from: number;
}

const noRoom = new Uint8Array(0);

/**
 * One stream's bytes from the moment they are produced until the other side has consumed them,
 * addressed by absolute stream positions, `start <= end`: a ring whose pieces are taken from the
 * budget when they are needed and go back when they are consumed. Nothing is moved when it grows.
 *
 * Views stay valid until their bytes are freed.
 */
export class Spool {
  readonly #budget: SpoolBudget;
  #owner: object | undefined;
  readonly #bytesMax: number;
  /** In order and without a gap; `#end` lies in the last one or at its end. */
  readonly #segments: Segment[] = [];
  #start: number;
  #end: number;

  /**
   * @param owner whose memory it is: only spools of the same owner use it again.
   * @param bytesMax the most that it holds; see `push` for the one exception.
   * @param from position of the first byte.
   */
  constructor(budget: SpoolBudget, owner: object, bytesMax: number, from = 0) {
    this.#start = from;
    this.#end = from;
    this.#budget = budget;
    this.#owner = owner;
    this.#bytesMax = bytesMax;
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

  /** Up to where the oldest piece reaches: freeing less than that frees no memory. */
  get oldestPieceEnd(): number {
    const [oldest] = this.#segments;
    return oldest === undefined ? this.#end : Math.min(this.#end, oldest.from + oldest.buffer.length);
  }

  isOwnedBy(owner: object): boolean {
    return this.#owner === owner;
  }

  /** Its memory is not used again when it is given back: others may be reading it, or the owner is gone. */
  disown(): void {
    this.#owner = undefined;
  }

  /** Memory held, bytes. */
  get memoryBytes(): number {
    return this.#segments.reduce((sum, { buffer }) => sum + buffer.length, 0);
  }

  /**
   * Contiguous room for the producer to fill, then `commit`. Empty when the spool is full, which
   * changes with `free`.
   */
  room(): Uint8Array {
    const allowed = this.#bytesMax - this.bytes;
    if (allowed <= 0) return noRoom;
    const room = this.#roomLeft() ?? this.#addSegment(false) ?? noRoom;
    return room.length > allowed ? room.subarray(0, allowed) : room;
  }

  /** The first `bytes` of `room()` were filled. */
  commit(bytes: number): void {
    this.#end += bytes;
  }

  /** Copies in what there is room for. @returns the number of bytes taken. */
  write(bytes: Uint8Array): number {
    return this.#copy(bytes, () => this.room());
  }

  /**
   * Copies in all of it, beyond `bytesMax` and the budget if need be: for what has to be taken, since
   * credit was given for it or its writer is dead.
   */
  push(bytes: Uint8Array): void {
    this.#copy(bytes, () => this.#roomLeft() ?? (this.#addSegment(true) as Uint8Array));
  }

  /** At most `bytes` from position `from` on, as far as they lie in one piece. */
  view(from: number, bytes: number): Uint8Array {
    for (const segment of this.#segments) {
      const at = from - segment.from;
      if (at >= segment.buffer.length) continue;
      return segment.buffer.subarray(at, Math.min(at + bytes, this.#end - segment.from));
    }
    return noRoom;
  }

  /** Everything before position `until` was consumed and is not asked for again. */
  free(until: number): void {
    this.#free(until, true);
  }

  /** As `free`, for bytes that nobody has consumed: a frame of them may be on its way. */
  drop(until: number): void {
    this.#free(until, false);
  }

  /**
   * Drops the bytes of the oldest piece, of which nothing was ever sent, and makes it the newest: no memory
   * is let go of and taken anew. Where the newest has room, or is the one and not full, it is only let go of.
   */
  rotate(): void {
    const oldest = this.#segments[0];
    if (oldest === undefined) return;
    if (this.#roomLeft() !== undefined) {
      this.drop(this.oldestPieceEnd);
      return;
    }
    this.#segments.shift();
    this.#start = Math.max(this.#start, oldest.from + oldest.buffer.length);
    this.#segments.push({ buffer: oldest.buffer, from: this.#end });
  }

  #free(until: number, consumed: boolean): void {
    if (until <= this.#start) return;
    this.#start = Math.min(until, this.#end);
    while (this.#segments.length > 0) {
      const [oldest] = this.#segments as [Segment];
      if (
        consumed &&
        this.#start === this.#end &&
        oldest.buffer.length === segmentBytes.first &&
        this.#segments.length === 1
      ) {
        // An idle stream keeps its small piece, all of it.
        oldest.from = this.#end;
        return;
      }
      if (this.#start < this.#end && this.#start < oldest.from + oldest.buffer.length) return;
      this.#segments.shift();
      this.#budget.giveBack(this.#owner, oldest.buffer, consumed);
    }
  }

  /** Nothing of it is needed any more. Frames of it may still be on their way. */
  close(): void {
    this.#start = this.#end;
    for (const { buffer } of this.#segments.splice(0)) this.#budget.giveBack(this.#owner, buffer, false);
  }

  #copy(bytes: Uint8Array, nextRoom: () => Uint8Array): number {
    let taken = 0;
    while (taken < bytes.length) {
      const room = nextRoom();
      if (room.length === 0) break;
      const part = bytes.subarray(taken, taken + room.length);
      room.set(part);
      this.#end += part.length;
      taken += part.length;
    }
    return taken;
  }

  /** What the newest piece has left. */
  #roomLeft(): Uint8Array | undefined {
    const newest = this.#segments.at(-1);
    if (newest === undefined) return undefined;
    const at = this.#end - newest.from;
    return at < newest.buffer.length ? newest.buffer.subarray(at) : undefined;
  }

  /** @returns its room, or `undefined` where `bytesMax` or the budget has none. */
  #addSegment(urgent: boolean): Uint8Array | undefined {
    for (const bytes of this.#sizes()) {
      if (!urgent && bytes > segmentBytes.first && this.bytes + bytes > this.#bytesMax) return undefined;
      const least = bytes === segmentBytes.first && this.#segments.length === 0;
      const buffer = this.#budget.take(this.#owner, bytes, urgent || least);
      if (buffer === undefined) continue;
      this.#segments.push({ buffer, from: this.#end });
      return buffer;
    }
    return undefined;
  }

  /**
   * Of the next piece, the best first. A stream that holds something waits rather than take small
   * pieces instead of large ones: those would be of no use to others when they are freed.
   */
  #sizes(): readonly number[] {
    const { first, usual } = segmentBytes;
    if (this.#end === 0 || this.#bytesMax < 4 * usual) return [first];
    return this.#segments.length === 0 ? [usual, first] : [usual];
  }
}
