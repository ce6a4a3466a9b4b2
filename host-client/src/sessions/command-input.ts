import type { HawserError, SendStream } from '@hawser/protocol';

/** Where a command's stdin comes from: a stream that an application writes to, or a buffer. */
export interface CommandInput {
  attach(stream: SendStream): void;
  /** The spool has room again. */
  room(): void;
  /** The command reads no more. Bytes that it did not take are gone. */
  over(error: HawserError): void;
}
