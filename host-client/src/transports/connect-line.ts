import type { Line } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import { openExec } from './exec-line.js';
import { openFirecracker } from './firecracker-line.js';
import { openLocal } from './local-line.js';
import { openUart } from './uart-line.js';
import { openUnix } from './unix-line.js';
import { vmOpener } from './vm-line.js';
import { openVsock } from './vsock-line.js';

export interface OpenLineOptions {
  /** Gives up opening. A line that is open already is closed by its own `close`. */
  readonly signal?: AbortSignal | undefined;
  /** How long opening may take. */
  readonly timeoutMs?: number | undefined;
  /** What the command of an `exec:` line writes to its stderr; otherwise it goes to ours. */
  readonly onStderr?: ((chunk: Uint8Array) => void) | undefined;
}

export interface OpenContext {
  /** The whole of what was asked for, which is also the line's name. */
  readonly spec: string;
  /** Aborted with the `HawserError` to fail with. */
  readonly signal: AbortSignal;
  readonly onStderr: ((chunk: Uint8Array) => void) | undefined;
}

/** Opens one kind of line. `rest` is what follows the colon. An error that is no `HawserError` becomes `line_open_failed`. */
export type LineOpener = (rest: string, context: OpenContext) => Promise<Line>;

/** The kinds of line by the word before the colon. */
export const lineOpeners: Readonly<Record<string, LineOpener>> = {
  unix: openUnix,
  uart: openUart,
  vsock: openVsock,
  firecracker: openFirecracker,
  exec: openExec,
  local: openLocal,
  vm: vmOpener(() => lineOpeners),
};

/** Whether the same agent may be at the other end when the line is opened once more. */
export function canBeReopened(spec: string): boolean {
  return !spec.startsWith('local:');
}

const openTimeoutMs = 10_000;

/**
 * Opens the line that `spec` names:
 *
 * - `unix:PATH`
 * - `uart:DEVICE[?baud=115200]`
 * - `vsock:CID:PORT`
 * - `firecracker:PATH:PORT`, the Unix socket that Firecracker and Cloud Hypervisor make for vsock
 * - `exec:COMMAND`, a shell command whose stdin and stdout are the line
 * - `local:[ARGUMENTS]`, an agent of our own on this machine
 * - `vm:NAME`, the line of a VM that `launchVm` or `hawser run` started
 *
 * @example
 * const line = await openLine('unix:/run/hawser.sock', { timeoutMs: 2_000 });
 */
export async function openLine(
  spec: string,
  options: OpenLineOptions = {},
  openers: Readonly<Record<string, LineOpener>> = lineOpeners,
): Promise<Line> {
  const colon = spec.indexOf(':');
  const scheme = spec.slice(0, Math.max(0, colon));
  const opener = Object.hasOwn(openers, scheme) ? openers[scheme] : undefined;
  if (opener === undefined) {
    throw new HawserError(
      'invalid_argument',
      `${JSON.stringify(spec)} is no line: it must begin with one of ${Object.keys(openers).join(':, ')}:`,
    );
  }
  const given = options.signal;
  const timeoutMs = options.timeoutMs ?? openTimeoutMs;
  const controller = new AbortController();
  const abort = (): void =>
    controller.abort(new HawserError('aborted', `opening ${spec} was aborted`, { cause: given?.reason }));
  const timer = setTimeout(() => {
    controller.abort(
      new HawserError('line_open_failed', `${spec} did not open within timeoutMs ${timeoutMs}`, {
        errno: 'ETIMEDOUT',
      }),
    );
  }, timeoutMs);
  given?.addEventListener('abort', abort);
  try {
    if (given?.aborted) abort();
    controller.signal.throwIfAborted();
    const line = await opener(spec.slice(colon + 1), {
      spec,
      signal: controller.signal,
      onStderr: options.onStderr,
    });
    if (controller.signal.aborted) {
      line.close();
      controller.signal.throwIfAborted();
    }
    return line;
  } catch (error) {
    throw openError(spec, error);
  } finally {
    clearTimeout(timer);
    given?.removeEventListener('abort', abort);
  }
}

function openError(spec: string, error: unknown): HawserError {
  if (error instanceof HawserError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  return new HawserError('line_open_failed', `${spec} cannot be opened: ${message}`, {
    errno: code,
    cause: error,
  });
}
