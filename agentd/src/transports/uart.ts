import type { Line } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import { PolledLine } from './polled-line.js';
import { RetryInterval } from './retry-interval.js';
import type { Transport, TransportContext } from './transport.js';

/** What of an open port of the package serialport is used here (`LinuxPortBinding`). */
interface SerialPortHandle {
  readonly fd: number | null;
  close(): Promise<void>;
}

const baudDefault = 115_200;
const dataBytesMin = 1024;
const dataBytesMax = 4096;
const reopenMs = { first: 20, longest: 1_000 };

type State =
  | { at: 'closed' }
  | { at: 'opening' }
  | { at: 'open'; line: PolledLine }
  /** The device hung up, or could not be opened; it is tried again. */
  | { at: 'away'; cancel: () => void };

/**
 * `uart:DEVICE[?baud=115200]`: a serial port, an hvc console or any other terminal device.
 *
 * The package serialport opens it and sets it up; its stream is not used. That one reads and writes
 * on pool threads, stops reading while a write waits (both ends full, and neither moves again), and
 * on a terminal that was hung up, where a read gives 0, reads on without end.
 *
 * A serial port never says that the other side is gone; a pty does, and is opened again.
 */
export class UartTransport implements Transport {
  readonly name: string;
  readonly #device: string;
  readonly #baudRate: number;
  readonly #context: TransportContext;
  readonly #interval = new RetryInterval(reopenMs.first, reopenMs.longest);
  #state: State = { at: 'closed' };
  #onLine: (line: Line) => void = () => {};
  #onError: (error: HawserError) => void = () => {};

  constructor(rest: string, context: TransportContext) {
    this.name = context.name;
    this.#context = context;
    const [, device, baud] = /^([^?]+)(?:\?baud=([1-9]\d{0,8}))?$/.exec(rest) ?? [];
    if (device === undefined) {
      throw new HawserError(
        'invalid_config',
        `${this.name} is not uart:DEVICE or uart:DEVICE?baud=${baudDefault}`,
      );
    }
    this.#device = device;
    this.#baudRate = baud === undefined ? baudDefault : Number(baud);
  }

  async start(onLine: (line: Line) => void, onError: (error: HawserError) => void): Promise<void> {
    this.#onLine = onLine;
    this.#onError = onError;
    await this.#open();
  }

  stop(): void {
    if (this.#state.at === 'away') this.#state.cancel();
    this.#state = { at: 'closed' };
  }

  close(): void {
    const state = this.#state;
    this.stop();
    if (state.at === 'open') state.line.close();
  }

  async #open(): Promise<void> {
    this.#state = { at: 'opening' };
    const { SerialPort } = await import('serialport').catch((cause: unknown) => {
      throw new HawserError('missing_dependency', `uart: needs the package serialport: ${String(cause)}`, {
        cause,
      });
    });
    const port: SerialPortHandle = await SerialPort.binding
      .open({ path: this.#device, baudRate: this.#baudRate })
      .catch((error: unknown) => {
        throw openError(this.name, error);
      });
    if (this.#isStopped()) {
      await port.close();
      return;
    }
    const line = new PolledLine({
      poller: this.#context.poller,
      readFd: port.fd as number,
      kind: 'uart',
      name: this.name,
      mayCorrupt: true,
      // About a tenth of a second of the line's time.
      dataBytesPreferred: Math.max(dataBytesMin, Math.min(dataBytesMax, Math.floor(this.#baudRate / 100))),
      release: (ended, reason) => void this.#released(port, ended, reason),
    });
    this.#state = { at: 'open', line };
    this.#onLine(line);
  }

  #isStopped(): boolean {
    return this.#state.at === 'closed';
  }

  async #released(port: SerialPortHandle, line: PolledLine, reason: HawserError | undefined): Promise<void> {
    if (line.receivedBytes > 0) this.#interval.reset();
    if (!this.#isStopped()) this.#state = { at: 'opening' };
    // A descriptor that cannot be closed is closed all the same (close(2)).
    await port.close().catch(() => undefined);
    if (this.#isStopped()) return;
    if (reason !== undefined) this.#onError(reason);
    this.#openLater();
  }

  /** Why it fails was told when the line ended. */
  async #openAgain(): Promise<void> {
    try {
      await this.#open();
    } catch (error) {
      if (!(error instanceof HawserError) || error.code !== 'line_open_failed') throw error;
      if (!this.#isStopped()) this.#openLater();
    }
  }

  #openLater(): void {
    const cancel = this.#context.clock.after(this.#interval.next(), () => {
      void this.#openAgain();
    });
    this.#state = { at: 'away', cancel };
  }
}

/** serialport's errors are sentences: "Error: No such file or directory, cannot open /dev/ttyS9". */
function openError(name: string, error: unknown): HawserError {
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
  return new HawserError('line_open_failed', `${name} cannot be opened: ${message}${found?.[2] ?? ''}`, {
    errno: found?.[1],
    cause: error,
  });
}
