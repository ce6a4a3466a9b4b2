import { setTimeout as sleep } from 'node:timers/promises';
import type { Line } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import type { OpenContext } from './connect-line.js';
import { DuplexLine } from './duplex-line.js';
import { SocketReader } from './socket-reader.js';

/** Between two looks at a connection in the making, in ms: a guest that listens accepts in less than one. */
const lookIntervalMs = 1;
const lookIntervalMaxMs = 20;

/** A vsock port or CID: a 32-bit number. */
export function parsePort(spec: string, text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 0xffff_ffff) {
    throw new HawserError(
      'invalid_argument',
      `${spec}: ${JSON.stringify(text)} is not a number from 0 to 4294967295`,
    );
  }
  return port;
}

/** `vsock:CID:PORT`, by AF_VSOCK of this kernel (QEMU, crosvm). Needs the optional package koffi. */
export async function openVsock(rest: string, { spec, signal }: OpenContext): Promise<Line> {
  const [cid, port, ...more] = rest.split(':');
  if (cid === undefined || port === undefined || more.length > 0) {
    throw new HawserError('invalid_argument', `${spec} is not vsock:CID:PORT`);
  }
  const address = { cid: parsePort(spec, cid), port: parsePort(spec, port) };
  const { adoptSocket, VsockAttempt } = await import('../ffi/vsock.js');
  const attempt = VsockAttempt.begin(address.cid, address.port, spec);
  try {
    for (
      let waitMs = lookIntervalMs;
      !attempt.connected();
      waitMs = Math.min(2 * waitMs, lookIntervalMaxMs)
    ) {
      await sleep(waitMs);
      signal.throwIfAborted();
    }
    const reader = new SocketReader();
    const socket = adoptSocket(attempt.take(), { onread: reader.onread });
    return new DuplexLine(socket, { kind: 'vsock', name: spec, dataBytesPreferred: 64 * 1024, reader });
  } finally {
    attempt.close();
  }
}
