import { constants, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Line } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import { errnoName } from '../ffi/errno.js';
import * as native from '../ffi/native.js';
import { POLL_HUP, POLL_IN, POLL_OUT } from '../processes/poller.js';
import { pathBytes } from './path-bytes.js';
import { PolledLine } from './polled-line.js';
import { RetryInterval } from './retry-interval.js';
import type { Transport, TransportContext } from './transport.js';

/** Where the kernel and udev list the ports; elsewhere in tests. */
export interface VirtioPlaces {
  readonly dev: string;
  readonly sysfs: string;
}

const places: VirtioPlaces = { dev: '/dev', sysfs: '/sys/class/virtio-ports' };

/** Without a host there is no event to wait for: its absence is one, and never ends. */
const lookMs = { first: 10, longest: 250 };
const openMs = { first: 100, longest: 2_000 };

const nothing = new Uint8Array(1);

type State =
  | { at: 'closed' }
  /** The port is not open; it is tried again. */
  | { at: 'away'; cancel: () => void }
  /** Open, and asked whether the host has it open too. */
  | { at: 'looking'; fd: number; stop: () => void }
  | { at: 'present'; fd: number; line: PolledLine };

/**
 * `virtio:NAME`: a port of a virtio-serial device, by its name (or `virtio:/dev/vport0p1`).
 *
 * The port is held open all the time: what the host writes while the guest has it closed is lost
 * when the host leaves. While the host is away poll says HUP without end and a read gives 0; when
 * it is back the same descriptor goes on. Each presence of the host is a line of its own, since its
 * bytes start anew. A host that is followed by the next within milliseconds is not always noticed,
 * as nothing in the port's state tells afterwards: then the next one's Hello takes the lane over.
 */
export class VirtioTransport implements Transport {
  readonly name: string;
  readonly #port: string;
  readonly #context: TransportContext;
  readonly #places: VirtioPlaces;
  readonly #looks = new RetryInterval(lookMs.first, lookMs.longest);
  readonly #opens = new RetryInterval(openMs.first, openMs.longest);
  #state: State = { at: 'closed' };
  #onLine: (line: Line) => void = () => {};
  #onError: (error: HawserError) => void = () => {};

  constructor(port: string, context: TransportContext, where: VirtioPlaces = places) {
    this.name = context.name;
    this.#port = port;
    this.#context = context;
    this.#places = where;
    if (port === '' || (port.includes('/') && !port.startsWith('/'))) {
      throw new HawserError('invalid_config', `${this.name} is not virtio:NAME with the name of a port`);
    }
  }

  start(onLine: (line: Line) => void, onError: (error: HawserError) => void): void {
    this.#onLine = onLine;
    this.#onError = onError;
    this.#look(this.#open());
  }

  stop(): void {
    const state = this.#state;
    if (state.at === 'away') state.cancel();
    if (state.at === 'looking') {
      state.stop();
      native.close(state.fd);
    }
    // A line that is there goes on, and its release finds the transport closed.
    this.#state = { at: 'closed' };
  }

  close(): void {
    const state = this.#state;
    this.stop();
    if (state.at === 'present') state.line.close();
  }

  #open(): number {
    const path = this.#device();
    const fd = native.open(pathBytes(path), constants.O_RDWR | constants.O_NONBLOCK, 0);
    if (fd >= 0) return fd;
    const errno = errnoName(fd);
    const why = errno === 'EBUSY' ? 'another process has the port open' : errno;
    throw new HawserError('line_open_failed', `${this.name} cannot be opened: ${path}: ${why}`, { errno });
  }

  /** udev's link, or what the kernel says itself. */
  #device(): string {
    if (this.#port.startsWith('/')) return this.#port;
    const { dev, sysfs } = this.#places;
    const links = listing(join(dev, 'virtio-ports'));
    if (links.includes(this.#port)) return join(dev, 'virtio-ports', this.#port);
    const names = new Map(listing(sysfs).map((device) => [portName(join(sysfs, device, 'name')), device]));
    const device = names.get(this.#port);
    if (device !== undefined) return join(dev, device);
    const known = [...names.keys()].filter((name) => name !== '').join(', ');
    throw new HawserError(
      'line_open_failed',
      `${this.name} cannot be opened: there is no such port (ports: ${known === '' ? 'none' : known})`,
      { errno: 'ENOENT' },
    );
  }

  /** A port with a host is writable, or has something to read; without one it says so at once. */
  #look(fd: number): void {
    const watch = this.#context.poller.watch(fd, POLL_IN | POLL_OUT, (events) => {
      watch.stop();
      if ((events & POLL_HUP) === 0) this.#present(fd);
      // Reading nothing fails where the port was unplugged (virtio_console.c, port_fops_read).
      else if (native.read(fd, nothing, 0, 0) < 0) this.#openLater(fd);
      else this.#lookLater(fd);
    });
    this.#state = { at: 'looking', fd, stop: () => watch.stop() };
  }

  #lookLater(fd: number): void {
    const cancel = this.#context.clock.after(this.#looks.next(), () => this.#look(fd));
    this.#state = { at: 'looking', fd, stop: cancel };
  }

  #present(fd: number): void {
    const line = new PolledLine({
      poller: this.#context.poller,
      readFd: fd,
      kind: 'virtio',
      name: this.name,
      mayCorrupt: false,
      dataBytesPreferred: 32 * 1024,
      release: (ended, reason) => this.#released(fd, ended, reason),
    });
    this.#state = { at: 'present', fd, line };
    this.#onLine(line);
  }

  #released(fd: number, line: PolledLine, reason: HawserError | undefined): void {
    if (line.receivedBytes > 0) this.#looks.reset();
    if (this.#state.at === 'closed') native.close(fd);
    else if (reason?.errno === undefined) this.#lookLater(fd);
    else this.#openLater(fd);
  }

  /** The device is gone; one of that name may come again. */
  #openLater(fd: number): void {
    native.close(fd);
    this.#onError(
      new HawserError('line_closed', `${this.name}: the port is gone, and is opened again when it is there`),
    );
    this.#awaitDevice();
  }

  #awaitDevice(): void {
    const cancel = this.#context.clock.after(this.#opens.next(), () => {
      try {
        this.#look(this.#open());
        this.#opens.reset();
      } catch (error) {
        if (!(error instanceof HawserError) || error.code !== 'line_open_failed') throw error;
        this.#awaitDevice();
      }
    });
    this.#state = { at: 'away', cancel };
  }
}

function listing(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** The name the host gave, or an empty one: a console's port has none. */
function portName(file: string): string {
  try {
    return readFileSync(file, 'utf8').trimEnd();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}
