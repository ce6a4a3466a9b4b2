import { HawserError } from '@hawser/protocol';

/** Gives up when the client does; what was begun goes on, and is nobody's. @throws HawserError `aborted`. */
export async function untilAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  let onAbort!: () => void;
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(new HawserError('aborted', 'the call was cancelled', { cause: signal.reason }));
    if (signal.aborted) onAbort();
  });
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
