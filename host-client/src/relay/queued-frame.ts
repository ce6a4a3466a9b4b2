import type { Frame } from '@hawser/protocol';
import { frameTypes, headerBytes, writeHeader } from '@hawser/protocol';

/** One whole frame, as it goes out: a header, with the payload behind it unless that is apart. */
export interface QueuedFrame {
  /** At most a header and `copyBytesMax`. */
  readonly head: Uint8Array;
  /** A larger payload. */
  readonly body: Uint8Array | undefined;
}

/** Payloads up to this stand behind their header, so that many frames leave in one system call, bytes. */
export const copyBytesMax = 8 * 1024;

/** What a queued frame costs beside its bytes: three objects, about. */
const frameOverheadBytes = 200;

/**
 * `frame` on another lane, with these flags; its checksums are made anew.
 *
 * @param lend a large payload is not copied: its memory must not be written to any more.
 */
export function queuedFrame(frame: Frame, lane: number, flags: number, lend: boolean): QueuedFrame {
  const { type, channel, offset, payload } = frame;
  const apart = payload.length > copyBytesMax;
  const head = Buffer.allocUnsafe(headerBytes + (apart ? 0 : payload.length));
  writeHeader(head, 0, { type, flags, lane, channel, offset, payload });
  if (!apart) head.set(payload, headerBytes);
  return { head, body: apart ? (lend ? payload : Buffer.from(payload)) : undefined };
}

/** The memory that a queued frame takes, bytes. */
export function costOf({ head, body }: QueuedFrame): number {
  return head.length + (body?.length ?? 0) + frameOverheadBytes;
}

/** What goes first, in this order. */
export const urgencies = ['greeting', 'link', 'message', 'data'] as const;
export type Urgency = (typeof urgencies)[number];

/** By the number alone: a type of a later generation is of the class that its range says (PROTOCOL.md, section 4.1). */
export function urgencyOf(type: number): Urgency {
  if (type <= frameTypes.Reject.id) return 'greeting';
  // Behind everything that its sender has sent before: it ends the connection.
  if (type === frameTypes.Bye.id) return 'data';
  if (type < 0x20) return 'link';
  return type < 0x80 ? 'message' : 'data';
}
