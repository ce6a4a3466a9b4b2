import type { Agent, SessionInfo, StatsSample } from '../index.js';
import { getIfThere } from './sessions-now.js';

/** Names and commands of the sessions that are watched: each is asked for once. */
export class KnownSessions {
  readonly #agent: Agent;
  #known: Map<string, SessionInfo> | undefined;

  constructor(agent: Agent) {
    this.#agent = agent;
  }

  /** What is known of the sessions of the sample; those that have gone meanwhile are left out. */
  async of({ sessions }: StatsSample): Promise<ReadonlyMap<string, SessionInfo>> {
    const before = (this.#known ??= await this.#running());
    const ids = sessions.map(({ id }) => id);
    const found = await Promise.all(ids.map(async (id) => before.get(id) ?? getIfThere(this.#agent, id)));
    this.#known = new Map(found.filter((info) => info !== undefined).map((info) => [info.id, info]));
    return this.#known;
  }

  /** In a few answers instead of one for each. */
  async #running(): Promise<Map<string, SessionInfo>> {
    const list = await this.#agent.sessions.list({ states: ['starting', 'running'] });
    return new Map(list.map((info) => [info.id, info]));
  }
}
