import type { Clock, Frame, Limits, Line, MessageCodec, Payload } from '@hawser/protocol';
import { encodeFrame, FrameDecoder, frameFlags, frameTypes } from '@hawser/protocol';

/** A client that says nothing is hung up on after this. */
const silenceMs = 5_000;

export interface RefusalOptions {
  /** Why. */
  readonly text: string;
  /** Waits for what it says; else it is hung up on at once. */
  readonly patient: boolean;
  readonly codec: MessageCodec;
  readonly limits: Limits;
  readonly clock: Clock;
  closed(): void;
}

/**
 * Answers the first `Hello` of a client for which there is no lane, and closes its line. One that wants to go on
 * with a connection is only hung up on: it tries again, and there may be a lane then.
 */
export function refuseClient(line: Line, options: RefusalOptions): void {
  const { codec, limits } = options;
  const decoder = new FrameDecoder(
    { frame: (frame) => answer(frame), skipped: () => {} },
    { frameBytesMax: limits.greetingBytesMax, checkedOnly: false, bufferBytes: 0 },
  );
  const cancel = options.clock.after(silenceMs, () => line.close());
  const answer = (frame: Frame): boolean => {
    if (frame.type !== frameTypes.Hello.id) return true;
    const refusal = refusalOf(frame, codec, options.text);
    // One small frame: a socket that was just connected takes it.
    if (refusal !== undefined) line.write(refusal);
    line.close();
    return true;
  };
  line.start({
    readBuffer: () => decoder.room(),
    received: (bytes) => decoder.advance(bytes),
    writable: () => {},
    closed: () => {
      cancel();
      options.closed();
    },
  });
  if (!options.patient) line.close();
}

function refusalOf(frame: Frame, codec: MessageCodec, text: string): Uint8Array | undefined {
  let hello: Payload<'Hello'> | undefined;
  try {
    hello = codec.decode('Hello', frame.payload);
  } catch {
    // It is told all the same; whom it is for is not known then.
  }
  if (hello?.resume !== undefined) return undefined;
  return encodeFrame({
    type: frameTypes.Reject.id,
    flags: frameFlags.CHECKED,
    payload: codec.encode('Reject', {
      code: 'limit_exceeded',
      message: text,
      connectionKey: hello?.connectionKey,
      attempt: hello?.attempt,
    }),
  });
}
