/**
 * Marks in the timer slack (prctl(2), PR_SET_TIMERSLACK): a fork and an execve keep it, and hardly a
 * program sets it. The kernel's default is 50,000 ns; a mark is a little more, below what anybody
 * notices. Every agent has a random range, so that one inside a session of another does not use its marks.
 */
const defaultSlackNs = 50_000;
const ranges = 16;
const rangeSize = 1_024;

export class WalkMarks {
  /** The marks of sessions that end with the agent. */
  readonly first: number;
  readonly last: number;
  readonly #taken = new Set<number>();

  /** @param random from 0 up to, but not including, 1. */
  constructor(random: number) {
    this.first = defaultSlackNs + 1 + Math.floor(random * ranges) * rangeSize;
    this.last = this.first + rangeSize / 2 - 1;
  }

  /** Those of sessions that survive the agent lie behind `last`. @returns 0 when there is none left. */
  take(survives: boolean): number {
    const from = survives ? this.last + 1 : this.first;
    for (let mark = from; mark < from + rangeSize / 2; mark++) {
      if (this.#taken.has(mark)) continue;
      this.#taken.add(mark);
      return mark;
    }
    return 0;
  }

  giveBack(mark: number): void {
    this.#taken.delete(mark);
  }
}
