import type { Clock, Connection, Message, Payload } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import type { Containment } from '../processes/containment/containment.js';
import type { Registry } from './registry.js';
import type { SessionWait } from './session-waits.js';
import { allStats, StatsSeries } from './stats-series.js';

const names = ['List', 'Inspect', 'Wait', 'Remove', 'AllStats', 'StopStats'] as const;
export type RegistryRequest = Extract<Message, { name: (typeof names)[number] }>;
type ReplyName = 'ListReply' | 'InspectReply' | 'WaitReply' | 'AllStatsReply' | 'Done' | 'Failure';

/** Whom the answers go to. */
interface Asker {
  readonly connection: Connection;
  readonly channel: number;
}

/** Sessions in a page, where the request does not say. */
const pageSize = 100;
const timeoutMsMax = 2 ** 31 - 1;

export function isRegistryRequest(message: Message): message is RegistryRequest {
  return (names as readonly string[]).includes(message.name);
}

/** Answers requests about any session, from whoever may attach to it. */
export class RegistryRequests {
  readonly #registry: Registry;
  readonly #containment: Containment;
  readonly #clock: Clock;
  /** By connection, and by the number of the message that began it. */
  readonly #series = new WeakMap<Connection, Map<number, StatsSeries>>();

  constructor(registry: Registry, containment: Containment, clock: Clock) {
    this.#registry = registry;
    this.#containment = containment;
    this.#clock = clock;
  }

  /** @throws HawserError the refusal, for the host to be told; what comes later is told here. */
  answer(connection: Connection, channel: number, message: RegistryRequest): void {
    const asker = { connection, channel };
    const registry = this.#registry;
    const re = message.number;
    switch (message.name) {
      case 'List':
        this.#list(asker, re, message.body);
        return;
      case 'Inspect': {
        const session = registry.record(registry.find(message.body.sessionId), true);
        reply(asker, 'InspectReply', { re, session });
        return;
      }
      case 'Wait':
        this.#wait(asker, re, message.body);
        return;
      case 'Remove':
        registry.remove(message.body.sessionId);
        reply(asker, 'Done', { re });
        return;
      case 'AllStats':
        this.#stats(asker, re, message.body);
        return;
      case 'StopStats':
        this.#series.get(asker.connection)?.get(message.body.series)?.stop();
        reply(asker, 'Done', { re });
        return;
    }
  }

  #list(asker: Asker, re: number, request: Payload<'List'>): void {
    const selected = this.#registry.select(request);
    const limit = request.limit ?? pageSize;
    for (let size = Math.min(limit, selected.length); ; size = Math.floor(size / 2)) {
      const page = selected.slice(0, size);
      const sessions = page.map((session) => this.#registry.record(session, request.stats === true));
      const next = size < selected.length ? page.at(-1)?.generation : undefined;
      const body = { re, sessions, next };
      // What one frame does not hold comes with the next page.
      if (size > 1 && !asker.connection.takes('ListReply', body)) continue;
      reply(asker, 'ListReply', body);
      return;
    }
  }

  #wait(asker: Asker, re: number, { sessionId, timeoutMs }: Payload<'Wait'>): void {
    const session = this.#registry.find(sessionId);
    const { record } = session;
    if (record.exit !== undefined) {
      reply(asker, 'WaitReply', { re, session: record });
      return;
    }
    if (timeoutMs !== undefined && timeoutMs > timeoutMsMax)
      throw new HawserError('invalid_argument', `timeoutMs ${timeoutMs} is more than ${timeoutMsMax}`);
    let cancel = (): void => {};
    const wait: SessionWait = {
      ended: (ended) => {
        cancel();
        reply(asker, 'WaitReply', { re, session: ended });
      },
      failed: (error) => {
        cancel();
        fail(asker, re, error);
      },
      get isOver() {
        return !asker.connection.open;
      },
    };
    this.#registry.waits.add(sessionId, wait);
    if (timeoutMs === undefined) return;
    cancel = this.#clock.after(timeoutMs, () => {
      this.#registry.waits.remove(sessionId, wait);
      fail(asker, re, new HawserError('timed_out', `session ${sessionId} still runs after ${timeoutMs} ms`));
    });
  }

  #stats(asker: Asker, re: number, request: Payload<'AllStats'>): void {
    const sample = (): Omit<Payload<'AllStatsReply'>, 're'> =>
      allStats(this.#registry, this.#containment, request);
    const { intervalMs } = request;
    if (intervalMs === undefined) {
      reply(asker, 'AllStatsReply', { re, ...sample() });
      return;
    }
    let series = this.#series.get(asker.connection);
    if (series === undefined) this.#series.set(asker.connection, (series = new Map()));
    const all = series;
    StatsSeries.start(all, re, {
      clock: this.#clock,
      connection: asker.connection,
      intervalMs,
      sample,
      tell: (body) => reply(asker, 'AllStatsReply', { re, ...body }),
      failed: (error) => fail(asker, re, error),
    });
  }
}

function reply<N extends ReplyName>({ connection, channel }: Asker, name: N, body: Payload<N>): void {
  if (connection.open) connection.send(channel, name, body);
}

function fail(asker: Asker, re: number, { code, message, errno }: HawserError): void {
  reply(asker, 'Failure', { re, code, message, errno });
}
