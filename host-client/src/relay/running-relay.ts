import type { Limits } from '@hawser/protocol';
import { defaultLimits, HawserError, MessageCodec, systemClock } from '@hawser/protocol';
import { openLine } from '../transports/connect-line.js';
import type { RelayEvent } from './relay.js';
import { Relay } from './relay.js';
import { listenLockPath, makeRuntimeDirectory, relayPaths } from './relay-path.js';
import { NameLock, RelaySocket } from './relay-socket.js';

export type RunningRelayEvent =
  | RelayEvent
  /** It is being opened again, until that succeeds. */
  | { readonly kind: 'line_lost'; readonly reason: HawserError | undefined }
  | { readonly kind: 'line_open_failed'; readonly error: HawserError }
  | { readonly kind: 'line_opened' };

export interface RunningRelayOptions {
  /** Paths to listen on, beside the one where this program's own clients look for it. */
  readonly listen: readonly string[];
  readonly limits?: Limits;
  event(event: RunningRelayEvent): void;
}

/** From a lost line to the first attempt to open it again, and the longest between two attempts. */
const reopenMs = { first: 50, longest: 2_000 } as const;

/** A relay with its line, its sockets and its locks. */
export class RunningRelay {
  readonly #spec: string;
  readonly #options: RunningRelayOptions;
  readonly #relay: Relay;
  readonly #locks: NameLock[] = [];
  readonly #sockets: RelaySocket[] = [];
  readonly #closing = new AbortController();

  private constructor(spec: string, options: RunningRelayOptions) {
    this.#spec = spec;
    this.#options = options;
    const limits = options.limits ?? defaultLimits;
    this.#relay = new Relay({
      name: spec,
      limits,
      codec: new MessageCodec(limits),
      clock: systemClock,
      event: (event) => options.event(event),
      lineClosed: (reason) => this.#lineLost(reason),
    });
  }

  /**
   * Opens the line and listens.
   *
   * @throws HawserError `line_open_failed` where the line cannot be opened, has a relay already (errno `EBUSY`), or a
   *   path is taken; `invalid_config` where the folder of the sockets is not safe; `missing_dependency`.
   */
  static async start(spec: string, options: RunningRelayOptions): Promise<RunningRelay> {
    const running = new RunningRelay(spec, options);
    try {
      await running.#start();
      return running;
    } catch (error) {
      running.close();
      throw error;
    }
  }

  /** Where it listens. */
  get paths(): readonly string[] {
    return this.#sockets.map(({ path }) => path);
  }

  /** Closes every line and socket. Clients that want to go on look for another relay there. */
  close(): void {
    this.#closing.abort();
    for (const socket of this.#sockets) socket.close();
    this.#relay.close();
    for (const lock of this.#locks) lock.close();
  }

  async #start(): Promise<void> {
    makeRuntimeDirectory();
    const own = relayPaths(this.#spec);
    this.#locks.push(NameLock.take(own.lock, `${this.#spec} has a relay already, at unix:${own.socket}`));
    for (const path of this.#options.listen)
      this.#locks.push(NameLock.take(listenLockPath(path), `unix:${path} is another relay's already`));
    this.#relay.open(await openLine(this.#spec, { signal: this.#closing.signal }));
    for (const path of new Set([own.socket, ...this.#options.listen]))
      this.#sockets.push(await RelaySocket.listen(path, (line) => this.#relay.accept(line)));
  }

  #lineLost(reason: HawserError | undefined): void {
    const { signal } = this.#closing;
    if (signal.aborted) return;
    this.#options.event({ kind: 'line_lost', reason });
    let delayMs: number = reopenMs.first;
    const again = (): void => {
      // Not all at the same time, where many relays lost their lines together.
      systemClock.after(delayMs * (0.5 + Math.random() / 2), () => void attempt());
      delayMs = Math.min(delayMs * 2, reopenMs.longest);
    };
    const attempt = async (): Promise<void> => {
      if (signal.aborted) return;
      try {
        const line = await openLine(this.#spec, { signal });
        if (signal.aborted) return line.close();
        this.#options.event({ kind: 'line_opened' });
        this.#relay.open(line);
      } catch (error) {
        if (signal.aborted) return;
        this.#options.event({ kind: 'line_open_failed', error: asHawserError(error) });
        again();
      }
    };
    again();
  }
}

function asHawserError(error: unknown): HawserError {
  return error instanceof HawserError ? error : new HawserError('internal', String(error), { cause: error });
}
