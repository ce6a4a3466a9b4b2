import { HawserError } from '@hawser/protocol';
import { systemCallError } from '../ffi/errno.js';
import { lateRequire } from '../ffi/late-require.js';
import * as native from '../ffi/native.js';

/**
 * node-pty's native binding (src/unix/pty.cc) without its JavaScript: it allocates terminals well,
 * and its streams lose output.
 */
interface PtyBinding {
  open(cols: number, rows: number): { master: number; slave: number; pty: string };
}

interface PtyLoader {
  loadNativeModule(name: 'pty'): { module: PtyBinding };
}

let binding: PtyBinding | undefined;

/** Loaded with the first terminal: a guest without any needs no node-pty. */
function ptyBinding(): PtyBinding {
  if (binding !== undefined) return binding;
  try {
    const loader = lateRequire('node-pty/lib/utils.js') as PtyLoader;
    binding = loader.loadNativeModule('pty').module;
    return binding;
  } catch (cause) {
    throw new HawserError(
      'missing_dependency',
      `a terminal needs node-pty's native binding, which cannot be loaded: ${String(cause)}`,
      { cause },
    );
  }
}

const newline = 0x0a;

export interface WindowSize {
  readonly rows: number;
  readonly cols: number;
  /** Width and height of the whole window in pixels; 0 where unknown. */
  readonly xpixel?: number | undefined;
  readonly ypixel?: number | undefined;
}

/** The agent's side of one terminal. `masterFd` is non-blocking and close-on-exec. */
export class PseudoTerminal {
  readonly masterFd: number;
  /** e.g. `/dev/pts/3`, for the launcher, whose child opens it. */
  readonly slavePath: string;
  #inputFd = -1;

  private constructor(masterFd: number, slavePath: string) {
    this.masterFd = masterFd;
    this.slavePath = slavePath;
  }

  /** The master once more, for writing: what is watched for both needs two numbers. Closed with the terminal. */
  get inputFd(): number {
    if (this.#inputFd < 0) {
      this.#inputFd = native.duplicate(this.masterFd);
      check('fcntl F_DUPFD_CLOEXEC', this.#inputFd, this.slavePath);
    }
    return this.#inputFd;
  }

  /** The size is there before any program can ask for it. */
  static open(size: WindowSize): PseudoTerminal {
    const { master, slave, pty } = openPair(size);
    // Not kept until the child has opened its own: a launch beside it would copy it, hold it for a
    // moment, and so put off the end of this terminal's output. The master is not read before then.
    native.close(slave);
    const terminal = new PseudoTerminal(master, pty);
    try {
      check('fcntl', native.setCloexec(master), pty);
      check('fcntl', native.setNonblock(master), pty);
      // The binding knows nothing of pixels.
      terminal.resize(size);
    } catch (error) {
      terminal.close();
      throw error;
    }
    return terminal;
  }

  /** The foreground group is told with SIGWINCH where the size differs. */
  resize(size: WindowSize): void {
    const result = native.setWindowSize(
      this.masterFd,
      size.cols,
      size.rows,
      size.xpixel ?? 0,
      size.ypixel ?? 0,
    );
    check('ioctl TIOCSWINSZ', result, this.slavePath);
  }

  windowSize(): Required<WindowSize> {
    const out = new Uint16Array(4);
    check('ioctl TIOCGWINSZ', native.windowSize(this.masterFd, out), this.slavePath);
    const [cols = 0, rows = 0, xpixel = 0, ypixel = 0] = out;
    return { rows, cols, xpixel, ypixel };
  }

  /**
   * What says end-of-file to a program that reads lines: the terminal's VEOF character, which only
   * counts at the start of a line, so twice after an unfinished one. Empty for a terminal that is
   * not in canonical mode, which has no end of file (termios(3)).
   */
  endOfFile(lastByte: number | undefined): Uint8Array {
    const veof = native.terminalEof(this.masterFd);
    if (veof <= 0) return new Uint8Array();
    return Uint8Array.from(lastByte === undefined || lastByte === newline ? [veof] : [veof, veof]);
  }

  /** Whoever is still in the terminal gets SIGHUP. Once only: the number may recur. */
  close(): void {
    if (this.#inputFd >= 0) native.close(this.#inputFd);
    native.close(this.masterFd);
  }
}

/** Before its session is known; both are more than 0, which some programs cannot bear. */
const anySize = { cols: 80, rows: 24 };

/** The terminals of sessions, the next of them made when nobody waits for it. */
export class Terminals {
  #spare: PseudoTerminal | undefined;

  /** @throws HawserError `launch_failed`, `missing_dependency`, `system_call_failed`. */
  open(size: WindowSize): PseudoTerminal {
    const terminal = this.#spare;
    if (terminal === undefined) return PseudoTerminal.open(size);
    this.#spare = undefined;
    try {
      terminal.resize(size);
    } catch (error) {
      terminal.close();
      throw error;
    }
    return terminal;
  }

  prepare(): void {
    try {
      this.#spare ??= PseudoTerminal.open(anySize);
    } catch {
      // Where there can be none now, `open` will say so, or find that there can.
    }
  }

  close(): void {
    this.#spare?.close();
    this.#spare = undefined;
  }
}

function openPair(size: WindowSize): { master: number; slave: number; pty: string } {
  const pty = ptyBinding();
  try {
    return pty.open(size.cols, size.rows);
  } catch (cause) {
    // openpty(3): no /dev/ptmx, no /dev/pts mounted, or kernel.pty.max reached; the binding does not say.
    throw new HawserError('launch_failed', `no terminal could be allocated: ${String(cause)}`, {
      stage: 'terminal',
      cause,
    });
  }
}

function check(name: string, result: number, what: string): void {
  if (result < 0) throw systemCallError(name, result, what);
}
