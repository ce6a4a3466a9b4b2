import type { ChannelHandler, Connection, Message, MessageFrameName, Payload } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import { failureOf } from './sessions/command.js';

/** Who is told what the agent answers. */
interface Asker {
  /** @returns whether more may come for the same request. */
  answered(message: Message): boolean;
  failed(error: HawserError): void;
}

/** The requests on channel 0, which are about the agent or about a session by its id, and their answers. */
export class Questions implements ChannelHandler {
  readonly #connection: Connection;
  readonly #askers = new Map<number, Asker>();

  constructor(connection: Connection) {
    this.#connection = connection;
    connection.openChannel(0, this);
  }

  /**
   * Asks, and waits for the answer.
   *
   * @param answer the message that it comes in.
   * @throws HawserError what the agent refuses it with, `message_invalid` for another answer, and what ends the connection.
   */
  async ask<N extends MessageFrameName, A extends MessageFrameName>(
    name: N,
    body: Payload<N>,
    answer: A,
  ): Promise<Payload<A>> {
    return new Promise((resolve, reject) => {
      this.askSeries(name, body, {
        answered: (message) => {
          if (message.name === answer) resolve(message.body);
          else reject(unexpected(name, message));
          return false;
        },
        failed: reject,
      });
    });
  }

  /** Asks what may be answered more than once. @returns the number by which it is known. */
  askSeries<N extends MessageFrameName>(name: N, body: Payload<N>, asker: Asker): number {
    const number = this.#connection.send(0, name, body);
    this.#askers.set(number, asker);
    return number;
  }

  /** What still comes for that request is nobody's. */
  forget(number: number): void {
    this.#askers.delete(number);
  }

  message(message: Message): void {
    const { body } = message;
    const re = 're' in body ? body.re : undefined;
    const asker = re === undefined ? undefined : this.#askers.get(re);
    if (re === undefined || asker === undefined) return;
    if (message.name === 'Failure') {
      this.#askers.delete(re);
      asker.failed(failureOf(message.body));
    } else if (!asker.answered(message)) {
      this.#askers.delete(re);
    }
  }

  closed(error: HawserError): void {
    const askers = [...this.#askers.values()];
    this.#askers.clear();
    for (const asker of askers) asker.failed(error);
  }
}

export function unexpected(name: string, reply: Message): HawserError {
  return new HawserError('message_invalid', `the agent answered ${name} with ${reply.name}`);
}
