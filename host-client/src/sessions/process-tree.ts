import type { Payload } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import type { Questions } from '../questions.js';

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

/** The processes of one session, by its id: also while the leader is dead and others live. */
export class ProcessTree {
  readonly #questions: Questions;
  readonly #sessionId: () => string;

  constructor(questions: Questions, sessionId: () => string) {
    this.#questions = questions;
    this.#sessionId = sessionId;
  }

  async members(): Promise<SessionMembers> {
    const reply = await this.#questions.ask('Members', { sessionId: this.#sessionId() }, 'MembersReply');
    const { confidence, processes, omitted } = reply;
    return { confidence, processes, omitted };
  }

  async stats(): Promise<SessionStats> {
    const reply = await this.#questions.ask('Stats', { sessionId: this.#sessionId() }, 'StatsReply');
    const { re: _, ...stats } = reply;
    return stats;
  }

  async killTree(): Promise<void> {
    try {
      await this.#questions.ask('KillTree', { sessionId: this.#sessionId() }, 'Done');
    } catch (error) {
      if (!(error instanceof HawserError) || error.code !== 'session_ended') throw error;
    }
  }

  async killOne(pid: number, signal?: string): Promise<void> {
    await this.#questions.ask('KillOne', { sessionId: this.#sessionId(), pid, signal }, 'Done');
  }

  async freeze(): Promise<void> {
    await this.#questions.ask('Freeze', { sessionId: this.#sessionId() }, 'Done');
  }

  async thaw(): Promise<void> {
    await this.#questions.ask('Thaw', { sessionId: this.#sessionId() }, 'Done');
  }
}
