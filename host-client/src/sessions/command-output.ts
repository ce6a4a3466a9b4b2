import type { HawserError, ReceiveStream, StreamSink } from '@hawser/protocol';

/** Where one output of a command goes: to an application that reads a stream, or into a buffer. */
export interface CommandOutput extends StreamSink {
  /** @param onSettled to be called when the output is complete, and again when all of it was consumed. */
  attach(stream: ReceiveStream, onSettled: () => void): void;
  /** There will be no more, and that was not the end. */
  fail(error: HawserError): void;
}
