import type { Connection, SendStream, Spool, StreamCount } from '@hawser/protocol';
import type { Attachment } from './attachment.js';

/** How long a session's output is kept, and what becomes of it when there is too much. */
export interface Retention {
  /** Consumed output that is kept for whoever attaches later, bytes. */
  readonly historyBytes: number;
  /** With nobody attached: the command waits, or the oldest bytes are dropped. */
  readonly whenFull: 'block' | 'dropOldest';
}

interface Reader {
  /** That it sends over. */
  readonly connection: Connection;
  /** Nothing waits for it. */
  readonly observes: boolean;
}

/**
 * One output of a session: what its command wrote and who reads it, each from a position of its own.
 *
 * What every reader has consumed is history, and is forgotten when there is more of it than was asked
 * for, or no room. What nobody has consumed is kept for the next one, until it is dropped as the
 * session's retention says; a reader is told of that as a gap. Observers do not count among the readers, but while
 * there is one, what was consumed is kept as long as there is room for it.
 */
export class OutputSpool {
  readonly #spool: Spool;
  readonly #retention: Retention;
  readonly #onRoom: () => void;
  readonly #readers = new Map<SendStream, Reader>();
  #observers = 0;
  /** Everything before this was consumed by everybody. */
  #owedFrom = 0;
  #droppedBytes = 0;
  /** Nothing from here on was ever sent to anybody, while nobody reads. */
  #sentUntil = 0;
  #finished = false;
  /** The producer waits for room. */
  #starving = false;

  /** @param onRoom bytes were freed: the producer may go on. */
  constructor(spool: Spool, retention: Retention, onRoom: () => void) {
    this.#spool = spool;
    this.#retention = retention;
    this.#onRoom = onRoom;
  }

  /** Position of the oldest byte that is still there. */
  get start(): number {
    return this.#spool.start;
  }

  /** Position behind the newest byte. */
  get end(): number {
    return this.#spool.end;
  }

  /** What was dropped is what nobody had consumed. */
  get count(): StreamCount {
    return { bytes: this.#spool.end, dropped: this.#droppedBytes };
  }

  /** Room for the producer; empty when it has to wait for `onRoom`. */
  room(): Uint8Array {
    for (;;) {
      const room = this.#spool.room();
      if (room.length > 0 || !this.#makeRoom()) return room;
    }
  }

  /** The first `bytes` of `room()` were filled. */
  commit(bytes: number): void {
    this.#starving = false;
    this.#spool.commit(bytes);
    this.#produced();
  }

  /** Takes all of it, whatever the limits: its writer is dead. */
  push(bytes: Uint8Array): void {
    this.#spool.push(bytes);
    this.#produced();
  }

  /** The producer found no room. */
  starved(): void {
    this.#starving = true;
    for (const reader of this.#readers.keys()) reader.starved();
  }

  /** There will be no more. */
  finish(): void {
    this.#finished = true;
    for (const reader of this.#readers.keys()) reader.end();
  }

  /**
   * `attachment` reads too, from `from` on. What is no longer there of that, it is told as a gap.
   *
   * @param until the reader's end, though there may be more.
   */
  addReader(attachment: Attachment, type: 'Stdout' | 'Stderr', from: number, until?: number): void {
    const { channel, observes } = attachment;
    // Whoever came first owns the memory: what another has not sent yet must not be written over.
    if (observes || !this.#spool.isOwnedBy(channel.connection)) this.#spool.disown();
    const reader: SendStream = channel.openReader(type, this.#spool, {
      from,
      until,
      onConsumed: () => {
        this.#consumed();
        attachment.progressed();
      },
      onOver: () => this.#left(reader),
    });
    this.#readers.set(reader, { connection: channel.connection, observes });
    if (observes) this.#observers++;
    attachment.addReader(reader);
    if (this.#finished || until !== undefined) reader.end();
    reader.produced();
    // What is there may be less than what its host gives credit for by itself.
    if (this.#starving) reader.starved();
  }

  /** The connection whose memory it was is over. */
  disown(): void {
    this.#spool.disown();
  }

  close(): void {
    this.#spool.close();
  }

  #produced(): void {
    for (const reader of this.#readers.keys()) reader.produced();
  }

  #consumed(): void {
    this.#owe();
    this.#forget();
    this.#onRoom();
  }

  #left(reader: SendStream): void {
    this.#sentUntil = this.#spool.end;
    this.#owe();
    if (this.#readers.get(reader)?.observes === true) this.#observers--;
    this.#readers.delete(reader);
    this.#forget();
    this.#onRoom();
  }

  #owe(): void {
    // Nobody may be there but observers: what was owed before is owed still.
    if (this.#readers.size === this.#observers) return;
    let from = Number.POSITIVE_INFINITY;
    for (const [reader, { observes }] of this.#readers)
      if (!observes) from = Math.min(from, reader.consumedBytes);
    this.#owedFrom = Math.max(Math.min(from, this.#spool.end), this.#spool.start);
  }

  #forget(): void {
    if (this.#observers > 0) return;
    this.#spool.free(this.#owedFrom - this.#retention.historyBytes);
  }

  /**
   * History goes first; then what only hosts without a line have not read, where others wait: one that was killed
   * must not hold up the one that came for it. Then, where the session wants that and nobody is there, what was
   * never read.
   */
  #makeRoom(): boolean {
    const { start, end, oldestPieceEnd } = this.#spool;
    if (start === end) return false;
    if (start < this.#owedFrom) {
      this.#spool.free(Math.min(this.#owedFrom, oldestPieceEnd));
      return this.#spool.start > start;
    }
    const here = this.#consumedByThoseHere();
    if (here > start) {
      this.#owedFrom = here;
      this.#spool.drop(Math.min(here, Math.max(oldestPieceEnd, start + 1)));
      return this.#spool.start > start;
    }
    if (this.#readers.size > this.#observers || this.#retention.whenFull === 'block') return false;
    this.#dropOldest();
    return true;
  }

  /** Everything before that was consumed by all that have a line; 0 unless some have a line and some have none. */
  #consumedByThoseHere(): number {
    const hosts = [...this.#readers].filter(([, { observes }]) => !observes);
    const here = hosts.filter(([, { connection }]) => connection.port !== undefined);
    if (here.length === 0 || here.length === hosts.length) return 0;
    return Math.min(...here.map(([reader]) => reader.consumedBytes));
  }

  #dropOldest(): void {
    const until = this.#spool.oldestPieceEnd;
    this.#droppedBytes += Math.max(0, until - Math.max(this.#owedFrom, this.#spool.start));
    this.#owedFrom = Math.max(this.#owedFrom, until);
    // Of what somebody may have been sent, a frame may still be on its way.
    if (this.#spool.start >= this.#sentUntil && this.#observers === 0) this.#spool.rotate();
    else this.#spool.drop(until);
  }
}
