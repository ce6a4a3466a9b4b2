import { bulkBuffer } from '../bulk-buffer.js';
import type { Frame } from './header.js';
import {
  frameCrc,
  frameFlags,
  headerAt,
  headerBytes,
  headerCheck,
  magic0,
  magic1,
  readOffset,
  readUint16,
  readUint32,
} from './header.js';

/**
 * Why bytes were not a frame; `length` is also a frame that is not CHECKED where it must be, and `filler` are zeros
 * only, as a host sends them to fill up what somebody before it has left unfinished.
 */
export type SkipReason = 'magic' | 'header_crc' | 'payload_crc' | 'length' | 'filler';

export interface FrameSink {
  /**
   * One frame whose header (and, where CHECKED, payload) checked out. The object is reused: read
   * it during the call.
   *
   * @returns whether the payload's bytes may be overwritten after the call. A sink that keeps a
   *   view of them returns false; the decoder then never writes to that memory again.
   */
  frame(frame: Frame): boolean;
  /** Bytes that belong to no frame: one call per run of them (and read), with the reason of its first byte. */
  skipped(bytes: number, reason: SkipReason): void;
}

/** The least room that a read is offered; below it the decoder takes a new buffer. */
const roomMin = 16 * 1024;

/** A buffer that has grown to more than so many times its usual size is not kept. */
const keptBuffersMax = 4;

/**
 * Turns bytes into frames. Synchronous, no I/O.
 *
 * The caller reads straight into the decoder's buffer (`room`, then `advance`), so a payload is
 * copied only where it straddles two buffers. The buffer grows as bytes come, never on the strength
 * of a declared length.
 *
 * After a bad magic, header checksum or length it scans on, byte by byte, for the next header that
 * checks, so that a frame behind a corrupt one is found again.
 */
export class FrameDecoder {
  readonly #sink: FrameSink;
  readonly #bufferBytes: number;
  #frameBytesMax: number;
  #checkedOnly: boolean;
  #buffer: Uint8Array;
  /** Bytes of the buffer from `#start` to `#end` came in and were not decoded yet. */
  #start = 0;
  #end = 0;
  /** A view into the buffer is in somebody's hands. */
  #lent = false;
  readonly #frame: Frame = { type: 0, flags: 0, lane: 0, channel: 0, offset: 0, payload: new Uint8Array(0) };
  #skippedBytes = 0;
  #skippedFor: SkipReason = 'magic';
  #incompleteLane: number | undefined;

  /**
   * @param options.frameBytesMax a header that declares a longer payload is no header.
   * @param options.checkedOnly a header without CHECKED is no header (lines that may corrupt).
   * @param options.bufferBytes size of the read buffer.
   */
  constructor(
    sink: FrameSink,
    options: { frameBytesMax: number; checkedOnly: boolean; bufferBytes: number },
  ) {
    this.#sink = sink;
    this.#frameBytesMax = options.frameBytesMax;
    this.#checkedOnly = options.checkedOnly;
    this.#bufferBytes = Math.max(options.bufferBytes, 2 * roomMin);
    this.#buffer = new Uint8Array(0);
  }

  setLimits(options: { frameBytesMax: number; checkedOnly: boolean }): void {
    this.#frameBytesMax = options.frameBytesMax;
    this.#checkedOnly = options.checkedOnly;
  }

  /** Bytes received and not yet part of a frame handed over. */
  get pendingBytes(): number {
    return this.#end - this.#start;
  }

  /** The lane of the frame whose header checked and whose payload is still coming in, where there is one. */
  get incompleteLane(): number | undefined {
    return this.#incompleteLane;
  }

  /** Where the next read goes: never empty. Valid until the next call of any method. */
  room(): Uint8Array {
    if (this.#start === this.#end) this.#rest();
    if (this.#buffer.length - this.#end < roomMin) this.#makeRoom();
    return this.#end === 0 ? this.#buffer : this.#buffer.subarray(this.#end);
  }

  /** The first `bytes` of the last `room` were filled: decodes what is complete. */
  advance(bytes: number): void {
    this.#end += bytes;
    this.#decode();
    this.#reportSkipped();
  }

  /** Decodes a chunk that was read elsewhere; copies it. */
  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length; ) {
      const room = this.room();
      const part = chunk.subarray(at, at + room.length);
      room.set(part);
      at += part.length;
      this.advance(part.length);
    }
  }

  /** Nothing is pending: the buffer is used from its start again, and one that grew for a large frame is let go. */
  #rest(): void {
    if (this.#buffer.length > this.#bufferBytes * keptBuffersMax) {
      this.#buffer = emptyPayload;
      this.#lent = false;
    }
    if (!this.#lent) this.#start = this.#end = 0;
  }

  #makeRoom(): void {
    const pending = this.#end - this.#start;
    // A lone frame that fills the buffer doubles it: memory follows the bytes that really came.
    const bytes = Math.max(this.#bufferBytes, 2 ** Math.ceil(Math.log2(pending + roomMin + 1)));
    if (!this.#lent && bytes <= this.#buffer.length) {
      this.#buffer.copyWithin(0, this.#start, this.#end);
    } else {
      const next = bulkBuffer(bytes);
      next.set(this.#buffer.subarray(this.#start, this.#end));
      this.#buffer = next;
      this.#lent = false;
    }
    this.#start = 0;
    this.#end = pending;
  }

  #decode(): void {
    this.#incompleteLane = undefined;
    while (this.#end - this.#start >= headerBytes) {
      const buffer = this.#buffer;
      const at = this.#start;
      if (buffer[at] !== magic0 || buffer[at + 1] !== magic1) {
        this.#skipToMagic();
        continue;
      }
      const flags = buffer[at + headerAt.flags] as number;
      const checked = (flags & frameFlags.CHECKED) !== 0;
      const length = readUint32(buffer, at + headerAt.length);
      const crc = readUint32(buffer, at + headerAt.crc);
      const end = at + headerBytes + length;
      if (length > this.#frameBytesMax || (!checked && this.#checkedOnly)) {
        this.#skip(1, 'length');
        continue;
      }
      // The crc of a CHECKED frame can only be compared when the whole payload is there. The check
      // field tells a corrupted length before that, and keeps the cost of a resynchronisation linear:
      // without it each false header would be believed for as many bytes as it claims.
      const headerGood = checked
        ? readUint16(buffer, at + headerAt.check) === headerCheck(buffer, at)
        : frameCrc(buffer, at, flags, emptyPayload) === crc;
      if (!headerGood) {
        this.#skip(1, 'header_crc');
        continue;
      }
      if (end > this.#end) {
        this.#incompleteLane = readUint16(buffer, at + headerAt.lane);
        return;
      }
      const payload = length === 0 ? emptyPayload : buffer.subarray(at + headerBytes, end);
      if (checked && frameCrc(buffer, at, flags, payload) !== crc) {
        // The header checked, so the length is believed: nothing inside a damaged payload is taken for a frame.
        // Without a payload it may have been cut off in its last field, and another begins there.
        this.#skip(length === 0 ? headerAt.crc : headerBytes + length, 'payload_crc');
        continue;
      }
      this.#start = end;
      this.#deliver(at, flags, payload);
    }
  }

  #deliver(at: number, flags: number, payload: Uint8Array): void {
    this.#reportSkipped();
    const buffer = this.#buffer;
    const frame = this.#frame;
    frame.type = buffer[at + headerAt.type] as number;
    frame.flags = flags;
    frame.lane = readUint16(buffer, at + headerAt.lane);
    frame.channel = readUint32(buffer, at + headerAt.channel);
    frame.offset = readOffset(buffer, at + headerAt.offset);
    frame.payload = payload;
    if (!this.#sink.frame(frame)) this.#lent = true;
    frame.payload = emptyPayload;
  }

  #skipToMagic(): void {
    const next = this.#buffer.indexOf(magic0, this.#start + 1);
    const to = next === -1 || next > this.#end ? this.#end : next;
    this.#count(to - this.#start, this.#isZero(to) ? 'filler' : 'magic');
    this.#start = to;
  }

  /** Whether there is nothing but zeros from the start up to `to`. */
  #isZero(to: number): boolean {
    for (let at = this.#start; at < to; at++) if (this.#buffer[at] !== 0) return false;
    return true;
  }

  #skip(bytes: number, reason: SkipReason): void {
    this.#count(bytes, reason);
    this.#start += bytes;
  }

  #count(bytes: number, reason: SkipReason): void {
    if (this.#skippedBytes === 0 || this.#skippedFor === 'filler') this.#skippedFor = reason;
    this.#skippedBytes += bytes;
  }

  #reportSkipped(): void {
    if (this.#skippedBytes === 0) return;
    const bytes = this.#skippedBytes;
    this.#skippedBytes = 0;
    this.#sink.skipped(bytes, this.#skippedFor);
  }
}

const emptyPayload = new Uint8Array(0);
