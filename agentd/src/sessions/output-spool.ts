import type { SendStream, Spool, StreamCount } from '@hawser/protocol';
import type { Attachment } from './attachment.js';

/** How long a session's output is kept, and what becomes of it when there is too much. */
export interface Retention {
  /** Consumed output that is kept for whoever attaches later, bytes. */
  readonly historyBytes: number;
  /** With nobody attached: the command waits, or the oldest bytes are dropped. */
  readonly whenFull: 'block' | 'dropOldest';
}

/**
 * One output of a session: what its command wrote and who reads it, each from a position of its own.
 *
 * What every reader has consumed is history, and is forgotten when there is more of it than was asked
 * for, or no room. What nobody has consumed is kept for the next one, until it is dropped as the
 * session's retention says; a reader is told of that as a gap.
 */
export class OutputSpool {
  readonly #spool: Spool;
  readonly #retention: Retention;
  readonly #onRoom: () => void;
  readonly #readers = new Set<SendStream>();
  /** Everything before this was consumed by everybody. */
  #owedFrom = 0;
  #droppedBytes = 0;
  #finished = false;

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
    for (const reader of this.#readers) reader.starved();
  }

  /** There will be no more. */
  finish(): void {
    this.#finished = true;
    for (const reader of this.#readers) reader.end();
  }

  /** `attachment` reads too, from `from` on. What is no longer there of that, it is told as a gap. */
  addReader(attachment: Attachment, type: 'Stdout' | 'Stderr', from: number): void {
    const { channel } = attachment;
    // Whoever came first owns the memory: what another has not sent yet must not be written over.
    if (!this.#spool.isOwnedBy(channel.connection)) this.#spool.disown();
    const reader: SendStream = channel.openReader(type, this.#spool, {
      from,
      onConsumed: () => {
        this.#consumed();
        attachment.progressed();
      },
      onOver: () => this.#left(reader),
    });
    this.#readers.add(reader);
    attachment.addReader(reader);
    if (this.#finished) reader.end();
    reader.produced();
  }

  /** The connection whose memory it was is over. */
  disown(): void {
    this.#spool.disown();
  }

  close(): void {
    this.#spool.close();
  }

  #produced(): void {
    for (const reader of this.#readers) reader.produced();
  }

  #consumed(): void {
    this.#owe();
    this.#forget();
    this.#onRoom();
  }

  #left(reader: SendStream): void {
    this.#owe();
    this.#readers.delete(reader);
    this.#forget();
    this.#onRoom();
  }

  #owe(): void {
    let from = Number.POSITIVE_INFINITY;
    for (const reader of this.#readers) from = Math.min(from, reader.consumedBytes);
    this.#owedFrom = Math.max(Math.min(from, this.#spool.end), this.#spool.start);
  }

  #forget(): void {
    this.#spool.free(this.#owedFrom - this.#retention.historyBytes);
  }

  /** History goes first; then, where the session wants that and nobody is there, what was never read. */
  #makeRoom(): boolean {
    const { start, end, oldestPieceEnd } = this.#spool;
    if (start === end) return false;
    if (start < this.#owedFrom) {
      this.#spool.free(Math.min(this.#owedFrom, oldestPieceEnd));
      return this.#spool.start > start;
    }
    if (this.#readers.size > 0 || this.#retention.whenFull === 'block') return false;
    this.#drop(oldestPieceEnd);
    return true;
  }

  #drop(until: number): void {
    this.#droppedBytes += Math.max(0, until - Math.max(this.#owedFrom, this.#spool.start));
    this.#owedFrom = Math.max(this.#owedFrom, until);
    this.#spool.drop(until);
  }
}
