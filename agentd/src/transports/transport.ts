import type { Clock, Line } from '@hawser/protocol';
import { HawserError, systemClock } from '@hawser/protocol';
import type { Poller } from '../processes/poller.js';
import { StdioTransport } from './stdio.js';
import { UartTransport } from './uart.js';
import { UnixTransport } from './unix.js';
import { VirtioTransport } from './virtio.js';
import { VsockTransport } from './vsock.js';

/** Where the agent's lines come from: a listening socket gives many, a device gives one after the other. */
export interface Transport {
  /** As it was configured, e.g. `unix:/run/hawser.sock`. */
  readonly name: string;
  /**
   * Opens it. Lines come from then on, and each must be started at once.
   *
   * @param onError what goes wrong later and does not end the transport: a peer that was refused, a
   *   device that cannot be opened again (told once; it is tried on)
   * @throws HawserError `line_open_failed` with `errno`
   */
  start(onLine: (line: Line) => void, onError: (error: HawserError) => void): Promise<void> | void;
  /** Gives no more lines; those that are there go on. Idempotent. */
  stop(): void;
  /** Stops, and closes the line of a device. Idempotent. */
  close(): void;
}

export interface TransportOptions {
  readonly poller: Poller;
  /** Tests only: accepts vsock peers of this machine (CID 1) beside the host (CID 2). */
  readonly vsockAllowLoopback: boolean;
  readonly clock?: Clock;
}

/** What a transport gets to know of its configuration. */
export interface TransportContext extends TransportOptions {
  readonly clock: Clock;
  readonly name: string;
}

const kinds: Readonly<Record<string, (rest: string, context: TransportContext) => Transport>> = {
  unix: (rest, context) => new UnixTransport(rest, context),
  uart: (rest, context) => new UartTransport(rest, context),
  virtio: (rest, context) => new VirtioTransport(rest, context),
  vsock: (rest, context) => new VsockTransport(rest, context),
  stdio: (rest, context) => new StdioTransport(rest, context),
};

/**
 * The transport that `spec` names, not yet open: `unix:PATH`, `uart:DEVICE[?baud=115200]`,
 * `virtio:NAME`, `vsock:PORT` or `stdio:`.
 *
 * @throws HawserError `invalid_config`
 */
export function openTransport(spec: string, options: TransportOptions): Transport {
  const colon = spec.indexOf(':');
  const kind = spec.slice(0, Math.max(0, colon));
  const make = Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
  if (make === undefined || spec.includes('\0')) {
    throw new HawserError(
      'invalid_config',
      `${JSON.stringify(spec)} is no transport: it must begin with one of ${Object.keys(kinds).join(':, ')}:`,
    );
  }
  return make(spec.slice(colon + 1), { clock: systemClock, ...options, name: spec });
}
