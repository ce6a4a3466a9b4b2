import type { FrameSink, SkipReason } from '../../src/frames/decoder.js';
import { FrameDecoder } from '../../src/frames/decoder.js';
import type { Frame } from '../../src/frames/header.js';
import type { WireFrame } from '../wire.js';

export const KiB = 1024;
export const MiB = 1024 * KiB;

/** Of the decoder's buffer in its memory: bulk-buffer.ts. */
const offsetBytes = 48;

/** A decoder and what came out of it. */
export class Collector implements FrameSink {
  readonly decoder: FrameDecoder;
  readonly frames: (Omit<WireFrame, 'offset'> & { offset: number })[] = [];
  readonly skips: { bytes: number; reason: SkipReason }[] = [];
  readonly #keep: (frame: Frame) => boolean;

  /** @param options.keep is given each frame too, and says whether its memory may be reused. */
  constructor(options: {
    frameBytesMax?: number;
    checkedOnly?: boolean;
    bufferBytes?: number;
    keep?: (frame: Frame) => boolean;
  }) {
    const { frameBytesMax = 4 * MiB, checkedOnly = false, bufferBytes = 64 * KiB } = options;
    this.#keep = options.keep ?? ((): boolean => true);
    this.decoder = new FrameDecoder(this, { frameBytesMax, checkedOnly, bufferBytes });
  }

  frame(frame: Frame): boolean {
    this.frames.push({ ...frame, payload: Buffer.from(frame.payload) });
    return this.#keep(frame);
  }

  skipped(bytes: number, reason: SkipReason): void {
    this.skips.push({ bytes, reason });
  }

  get skippedBytes(): number {
    return this.skips.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Memory that the decoder holds, bytes. */
  get bufferBytes(): number {
    return this.decoder.room().buffer.byteLength - offsetBytes;
  }

  /** Hands bytes over in pieces of `size()` bytes. */
  feed(bytes: Uint8Array, size: () => number = () => bytes.length): this {
    for (let at = 0; at < bytes.length; ) {
      const room = this.decoder.room();
      const piece = bytes.subarray(at, at + Math.min(size(), room.length));
      room.set(piece);
      this.decoder.advance(piece.length);
      at += piece.length;
    }
    return this;
  }
}
