import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { within } from './deadline.mjs';

/**
 * One measured program, in a process of its own: a request is a line of JSON on its stdin, the answer a
 * line on its stdout. Contestants time themselves, so neither line is part of any figure.
 */
export class Contestant {
  #answers;

  constructor(name, child, owner) {
    this.name = name;
    this.child = child;
    this.owner = owner;
    this.#answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    // Its death is noticed as the end of its stdout; a request that was on its way then is no second error.
    child.stdin.on('error', () => undefined);
  }

  async ask(request, timeoutMs = 60_000) {
    const text = JSON.stringify(request);
    this.child.stdin.write(`${text}\n`);
    const { value, done } = await within(this.#answers.next(), timeoutMs, `${this.name} to answer ${text}`);
    if (done) throw new Error(`${this.name} ended while it was asked ${text}`);
    const answer = JSON.parse(value);
    if (answer?.error !== undefined) throw new Error(`${this.name} failed at ${text}: ${answer.error}`);
    return answer;
  }

  async end() {
    await this.owner.end(this.child, { ask: () => this.child.stdin.end() });
  }
}

/** The other side of it: answers requests with `handlers[request.run](request)` until stdin ends. */
export async function serve(handlers) {
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    let answer;
    try {
      answer = (await handlers[request.run](request)) ?? null;
    } catch (error) {
      answer = { error: error.stack ?? String(error) };
    }
    if (!process.stdout.write(`${JSON.stringify(answer)}\n`)) await once(process.stdout, 'drain');
  }
  process.exit(0);
}

/** Nanoseconds that `run` takes. */
export async function timed(run) {
  const start = process.hrtime.bigint();
  await run();
  return Number(process.hrtime.bigint() - start);
}
