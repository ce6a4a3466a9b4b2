import { Session } from 'node:inspector/promises';

/**
 * What of `protocol/src` and `host-client/src` was run, block by block, as V8 counts it. (@jazzer.js/core 4.0.0 would do this
 * with less effort; its prebuilt fuzzer needs glibc 2.38, which Debian 12 does not have.)
 */
export class Coverage {
  readonly #session = new Session();
  readonly #seen = new Set<string>();

  async start(): Promise<void> {
    this.#session.connect();
    await this.#session.post('Profiler.enable');
    await this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
    await this.#session.post('Profiler.takePreciseCoverage');
  }

  get blocks(): number {
    return this.#seen.size;
  }

  /** The blocks that were run since the last call and never before. */
  async fresh(): Promise<Set<string>> {
    const fresh = new Set([...(await this.run())].filter((block) => !this.#seen.has(block)));
    for (const block of fresh) this.#seen.add(block);
    return fresh;
  }

  /** The blocks that were run since the last call. */
  async run(): Promise<Set<string>> {
    const { result } = await this.#session.post('Profiler.takePreciseCoverage');
    const blocks = new Set<string>();
    for (const { url, functions } of result) {
      if (!/\/(protocol|host-client)\/src\//.test(url)) continue;
      for (const { ranges } of functions) {
        for (const { startOffset, endOffset, count } of ranges)
          if (count > 0) blocks.add(`${url}:${startOffset}-${endOffset}`);
      }
    }
    return blocks;
  }
}
