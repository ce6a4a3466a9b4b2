import type { HawserError, SendStream } from '@hawser/protocol';

/** Where a command's stdin comes from: a stream that an application writes to, or a buffer. */
export interface CommandInput {
  attach(stream: SendStream): void;
  /** The spool has room again. */
  room(): void;
  /** Resolves when all that was written is sent. The end is perhaps still to be. */
  sent(): Promise<SentInput>;
  /** The command reads no more, for a reason of its own. Bytes that it did not take are gone. */
  over(error: HawserError): void;
  /** The command is no more. */
  ended(): void;
}

export interface SentInput {
  /** Position behind the last byte. */
  readonly bytes: number;
  /** Nothing follows. */
  readonly ended: boolean;
}

export function sentOf(stream: SendStream | undefined): Promise<SentInput> {
  if (stream === undefined) return Promise.resolve({ bytes: 0, ended: false });
  return new Promise((resolve) =>
    stream.whenSent(() => resolve({ bytes: stream.spool.end, ended: stream.ended })),
  );
}
