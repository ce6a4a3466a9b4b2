import { constants, fstatSync } from 'node:fs';
import type { Line } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import { errnoName } from '../ffi/errno.js';
import * as native from '../ffi/native.js';
import { pathBytes } from './path-bytes.js';
import { PolledLine } from './polled-line.js';
import type { Transport, TransportContext } from './transport.js';

const stdin = 0;
const stdout = 1;

/**
 * `stdio:`: the agent's own stdin and stdout are its one line. When that ends there is no other, so
 * the agent ends too. Nothing else may write to stdout.
 */
export class StdioTransport implements Transport {
  readonly name: string;
  readonly #context: TransportContext;
  #line: PolledLine | undefined;

  constructor(rest: string, context: TransportContext) {
    this.name = context.name;
    this.#context = context;
    if (rest !== '')
      throw new HawserError(
        'invalid_config',
        `${this.name} says too much: stdio: has nothing behind the colon`,
      );
  }

  start(onLine: (line: Line) => void): void {
    for (const fd of [stdin, stdout]) {
      const refusal = whyNot(fd);
      if (refusal !== undefined) {
        throw new HawserError(
          'line_open_failed',
          `${this.name} cannot be opened: descriptor ${fd} is ${refusal}, not a pipe or a socket`,
        );
      }
      const result = native.setNonblock(fd);
      if (result < 0) {
        const errno = errnoName(result);
        throw new HawserError('line_open_failed', `${this.name} cannot be opened: ${errno}`, { errno });
      }
    }
    this.#line = new PolledLine({
      poller: this.#context.poller,
      readFd: stdin,
      writeFd: stdout,
      kind: 'stdio',
      name: this.name,
      mayCorrupt: false,
      dataBytesPreferred: 64 * 1024,
      release: silence,
    });
    onLine(this.#line);
  }

  stop(): void {
    // There is no second line.
  }

  close(): void {
    this.#line?.close();
  }
}

function whyNot(fd: number): string | undefined {
  const file = fstatSync(fd);
  if (file.isFIFO() || file.isSocket()) return undefined;
  if (native.windowSize(fd, new Uint16Array(4)) >= 0) return 'a terminal';
  return file.isFile() ? 'a file' : 'a device';
}

/** The numbers stay taken, so that no later descriptor becomes stdout by chance. */
function silence(): void {
  const nothing = native.open(pathBytes('/dev/null'), constants.O_RDWR, 0);
  for (const fd of [stdin, stdout]) {
    if (nothing < 0) native.close(fd);
    else native.dup3(nothing, fd);
  }
  if (nothing >= 0) native.close(nothing);
}
