import type { Line } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import { errnoName } from '../ffi/errno.js';
import * as native from '../ffi/native.js';
import { Listener } from './listener.js';
import { PolledLine } from './polled-line.js';
import type { Transport, TransportContext } from './transport.js';

/** vsock(7): VMADDR_CID_HOST and VMADDR_CID_LOCAL. */
const hostCid = 2n;
const localCid = 1n;

/** Only the host may speak to the agent, not other programs of the guest and not other guests. */
export function isVsockPeerAllowed(cid: bigint, allowLoopback: boolean): boolean {
  return cid === hostCid || (allowLoopback && cid === localCid);
}

/** `vsock:PORT`: listens on AF_VSOCK. */
export class VsockTransport implements Transport {
  readonly name: string;
  readonly #port: number;
  readonly #context: TransportContext;
  #listener: Listener | undefined;

  constructor(port: string, context: TransportContext) {
    this.name = context.name;
    this.#port = Number(port);
    this.#context = context;
    // 4294967295 is VMADDR_PORT_ANY.
    if (!/^\d+$/.test(port) || this.#port >= 0xffff_ffff) {
      throw new HawserError(
        'invalid_config',
        `${this.name} is not vsock:PORT with a port from 0 to 4294967294`,
      );
    }
  }

  start(onLine: (line: Line) => void, onError: (error: HawserError) => void): void {
    const { poller, clock, vsockAllowLoopback } = this.#context;
    const fd = native.listenVsock(this.#port);
    if (fd < 0) {
      const errno = errnoName(fd);
      throw new HawserError('line_open_failed', `${this.name} cannot be opened: ${errno}`, { errno });
    }
    this.#listener = new Listener(fd, {
      poller,
      clock,
      name: this.name,
      failed: onError,
      accepted: (peer, [, cid = -1n, port = -1n]) => {
        if (isVsockPeerAllowed(cid, vsockAllowLoopback)) {
          onLine(this.#line(peer, cid, port));
          return;
        }
        native.close(peer);
        onError(
          new HawserError(
            'rejected',
            `${this.name} refused a peer with CID ${cid}: only the host's CID ${hostCid} may connect`,
          ),
        );
      },
    });
  }

  stop(): void {
    this.#listener?.close();
    this.#listener = undefined;
  }

  close(): void {
    this.stop();
  }

  #line(fd: number, cid: bigint, port: bigint): PolledLine {
    return new PolledLine({
      poller: this.#context.poller,
      readFd: fd,
      kind: 'vsock',
      name: `${this.name} (CID ${cid}, port ${port})`,
      mayCorrupt: false,
      dataBytesPreferred: 64 * 1024,
      release: () => void native.close(fd),
    });
  }
}
