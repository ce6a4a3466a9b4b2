import type { HawserError, SendStream } from '@hawser/protocol';

/** Where a command's stdin comes from: a stream that an application writes to, or a buffer. */
export interface CommandInput {
  attach(stream: SendStream): void;
  /** The spool has room again. */
  room(): void;
  /** Resolves with the position behind the last byte that was sent, when all that was written is. */
  sent(): Promise<number>;
  /** The command reads no more. Bytes that it did not take are gone. */
  over(error: HawserError): void;
}

export function sentOf(stream: SendStream | undefined): Promise<number> {
  if (stream === undefined) return Promise.resolve(0);
  return new Promise((resolve) => stream.whenSent(() => resolve(stream.spool.end)));
}
