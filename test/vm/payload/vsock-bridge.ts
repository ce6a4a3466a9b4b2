// Runs in the guest: its stdin and stdout become a vsock connection, `vsock-bridge CID PORT`.
import { setTimeout as pause } from 'node:timers/promises';
import { adoptSocket, VsockAttempt } from '../../../host-client/src/ffi/vsock.js';

const [cid, port] = process.argv.slice(2).map(Number);
const attempt = VsockAttempt.begin(cid as number, port as number, 'vsock-bridge');
while (!attempt.connected()) await pause(1);
const socket = adoptSocket(attempt.take(), {
  onread: {
    buffer: Buffer.alloc(64 * 1024),
    callback: (bytes, buffer) => {
      const more = process.stdout.write(Buffer.from(buffer.subarray(0, bytes)));
      if (!more) process.stdout.once('drain', () => socket.resume());
      return more;
    },
  },
});
process.stdin.pipe(socket);
socket.once('end', () => process.exit(0));
socket.resume();
