import type { Message, Payload } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';

/** A process of a session. Command lines that are not UTF-8 are bytes. */
export type SessionProcess = Payload<'MembersReply'>['processes'][number];

/** The processes of a session at one moment. */
export interface SessionMembers {
  /** `exact`: these and no others. `best_effort`: what a walk through /proc found (docs/containment.md). */
  readonly confidence: 'exact' | 'best_effort';
  readonly processes: readonly SessionProcess[];
  /** Further ones, of a session that has more than one message holds (16,384). */
  readonly omitted?: number | undefined;
}

/** What all processes of a session use together. What the guest does not count is absent. */
export type SessionStats = Omit<Payload<'StatsReply'>, 're'>;

type TreeRequestName = 'Members' | 'KillTree' | 'KillOne' | 'Freeze' | 'Thaw' | 'Stats';

/** Sends a request about a session, and resolves with its answer. */
export type AskAboutTree = <N extends TreeRequestName>(name: N, body: Payload<N>) => Promise<Message>;

/** The processes of one session, by its id: also while the leader is dead and others live. */
export class ProcessTree {
  readonly #ask: AskAboutTree;
  readonly #sessionId: () => string;

  constructor(ask: AskAboutTree, sessionId: () => string) {
    this.#ask = ask;
    this.#sessionId = sessionId;
  }

  async members(): Promise<SessionMembers> {
    const reply = await this.#ask('Members', { sessionId: this.#sessionId() });
    if (reply.name !== 'MembersReply') throw unexpected('Members', reply);
    const { confidence, processes, omitted } = reply.body;
    return { confidence, processes, omitted };
  }

  async stats(): Promise<SessionStats> {
    const reply = await this.#ask('Stats', { sessionId: this.#sessionId() });
    if (reply.name !== 'StatsReply') throw unexpected('Stats', reply);
    const { re: _, ...stats } = reply.body;
    return stats;
  }

  async killTree(): Promise<void> {
    try {
      await this.#ask('KillTree', { sessionId: this.#sessionId() });
    } catch (error) {
      if (!(error instanceof HawserError) || error.code !== 'session_ended') throw error;
    }
  }

  async killOne(pid: number, signal?: string): Promise<void> {
    await this.#ask('KillOne', { sessionId: this.#sessionId(), pid, signal });
  }

  async freeze(): Promise<void> {
    await this.#ask('Freeze', { sessionId: this.#sessionId() });
  }

  async thaw(): Promise<void> {
    await this.#ask('Thaw', { sessionId: this.#sessionId() });
  }
}

function unexpected(name: string, reply: Message): HawserError {
  return new HawserError('message_invalid', `the agent answered ${name} with ${reply.name}`);
}
