import { readSync, writevSync } from 'node:fs';
import type { Line, LineHandler } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import type { OpenContext } from './connect-line.js';

const readable = 1;
const writable = 2;
type PollEvents = 0 | 1 | 2 | 3;

/** What of an open serial port of the package `serialport` is used here (`LinuxPortBinding`). */
export interface SerialPortHandle {
  readonly fd: number | null;
  readonly poller: {
    on(event: 'readable' | 'writable', callback: (error: Error | null) => void): unknown;
    off(event: 'readable' | 'writable', callback: (error: Error | null) => void): unknown;
    /** Waits for these events and no others; each is told once. */
    poll(events: number): void;
  };
  close(): Promise<void>;
}

const baudDefault = 115_200;
const dataBytesMin = 1024;
const dataBytesMax = 4096;
/** Reads of one wake, of at most 4 KiB each: other lines want their turn. */
const readsMax = 64;
/** A terminal's read gives no more than this at a time, so a read below half of it was the last. */
const readBytesMax = 4096;

/** `uart:DEVICE[?baud=115200]`: a serial port or any other terminal device, through the package serialport. */
export async function openUart(rest: string, { spec, signal }: OpenContext): Promise<Line> {
  const { device, baudRate } = parseUart(rest, spec);
  const { SerialPort } = await import('serialport').catch((cause: unknown) => {
    throw new HawserError('missing_dependency', `uart: lines need the package serialport: ${String(cause)}`, {
      cause,
    });
  });
  const port = await SerialPort.binding.open({ path: device, baudRate }).catch((error: unknown) => {
    throw openError(spec, error);
  });
  if (signal.aborted) {
    await port.close();
    signal.throwIfAborted();
  }
  return new UartLine(port as unknown as SerialPortHandle, spec, baudRate);
}

/** `DEVICE?baud=N` */
function parseUart(rest: string, spec: string): { device: string; baudRate: number } {
  const [, device, baud] = /^([^?]+)(?:\?baud=([1-9]\d{0,8}))?$/.exec(rest) ?? [];
  if (device === undefined)
    throw new HawserError('invalid_argument', `${spec} is not uart:DEVICE or uart:DEVICE?baud=115200`);
  return { device, baudRate: baud === undefined ? baudDefault : Number(baud) };
}

/** serialport's errors are sentences: "Error: No such file or directory, cannot open /dev/ttyS9". */
function openError(spec: string, error: unknown): HawserError {
  const { message } = error as Error;
  const known: readonly [RegExp, string, string][] = [
    [/No such file or directory/, 'ENOENT', ''],
    [/Permission denied/, 'EACCES', ''],
    [/Cannot lock port/, 'EAGAIN', ' (another program has it open)'],
    [/Device or resource busy/, 'EBUSY', ' (another program has it open)'],
    [/Inappropriate ioctl/, 'ENOTTY', ' (no terminal device)'],
    [/Input\/output error/, 'EIO', ''],
  ];
  const found = known.find(([pattern]) => pattern.test(message));
  return new HawserError('line_open_failed', `${spec} cannot be opened: ${message}${found?.[2] ?? ''}`, {
    errno: found?.[1],
    cause: error,
  });
}

/** About a tenth of a second of the line's time. */
export function uartDataBytes(baudRate: number): number {
  return Math.max(dataBytesMin, Math.min(dataBytesMax, Math.floor(baudRate / 100)));
}

/**
 * A serial port as a line: serialport opens it, sets it up and polls it, and the bytes go straight
 * between the kernel and the handler.
 *
 * Not through serialport's stream: that one reads and writes on pool threads, stops reading while a
 * write waits (both ends full, and neither moves again), and on a terminal that was hung up, where
 * a read gives 0, reads on without end. And nothing waits in a stream's buffer here: a short write
 * says what the port takes now.
 */
export class UartLine implements Line {
  readonly kind = 'uart';
  readonly name: string;
  readonly mayCorrupt = true;
  readonly dataBytesPreferred: number;
  readonly #port: SerialPortHandle;
  readonly #fd: number;
  #state: { at: 'idle' } | { at: 'open'; handler: LineHandler } | { at: 'closed' } = { at: 'idle' };
  #interest: PollEvents = 0;

  constructor(port: SerialPortHandle, name: string, baudRate: number) {
    this.#port = port;
    this.#fd = port.fd as number;
    this.name = name;
    this.dataBytesPreferred = uartDataBytes(baudRate);
  }

  start(handler: LineHandler): void {
    if (this.#state.at !== 'idle')
      throw new HawserError('internal', `${this.name} was started twice, or after close`);
    this.#state = { at: 'open', handler };
    this.#port.poller.on('readable', this.#readable);
    this.#port.poller.on('writable', this.#writable);
    this.#setInterest(readable);
  }

  write(head: Uint8Array, body?: Uint8Array): number {
    if (this.#state.at !== 'open') return 0;
    const total = head.length + (body?.length ?? 0);
    const taken = this.#attempt(() => writevSync(this.#fd, body === undefined ? [head] : [head, body]));
    if (taken === undefined || taken < total) this.#setInterest((this.#interest | writable) as PollEvents);
    return taken ?? 0;
  }

  setReading(on: boolean): void {
    if (this.#state.at !== 'open') return;
    this.#setInterest((on ? this.#interest | readable : this.#interest & ~readable) as PollEvents);
  }

  close(): void {
    this.#end();
  }

  readonly #readable = (): void => {
    for (
      let reads = 0;
      reads < readsMax && this.#state.at === 'open' && (this.#interest & readable) !== 0;
      reads++
    ) {
      const { handler } = this.#state;
      const buffer = handler.readBuffer();
      const bytes = this.#attempt(() => readSync(this.#fd, buffer));
      if (bytes === 0)
        this.#end(new HawserError('line_closed', `${this.name} was hung up`, { errno: 'EIO' }));
      if (bytes === undefined || bytes === 0) break;
      handler.received(bytes);
      if (bytes < readBytesMax / 2) break;
    }
    this.#poll();
  };

  readonly #writable = (): void => {
    if (this.#state.at !== 'open') return;
    if ((this.#interest & writable) !== 0) {
      this.#interest = (this.#interest & ~writable) as PollEvents;
      this.#state.handler.writable();
    }
    this.#poll();
  };

  /** @returns undefined where the port would block, or has failed, and then the line ends. */
  #attempt(call: () => number): number | undefined {
    try {
      return call();
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== 'EAGAIN')
        this.#end(
          new HawserError('line_closed', `${this.name} failed: ${message}`, { errno: code, cause: error }),
        );
      return undefined;
    }
  }

  #setInterest(interest: PollEvents): void {
    if (this.#interest === interest) return;
    this.#interest = interest;
    this.#poll();
  }

  /** Said anew after each event: the poller forgets what it has told, and polls on for what it was once asked. */
  #poll(): void {
    if (this.#state.at === 'open') this.#port.poller.poll(this.#interest);
  }

  #end(reason?: HawserError): void {
    const state = this.#state;
    if (state.at === 'closed') return;
    this.#state = { at: 'closed' };
    this.#port.poller.off('readable', this.#readable);
    this.#port.poller.off('writable', this.#writable);
    // A descriptor that cannot be closed is closed all the same (close(2)).
    this.#port.close().catch(() => undefined);
    if (state.at === 'open') queueMicrotask(() => state.handler.closed(reason));
  }
}
