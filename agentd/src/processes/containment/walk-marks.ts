/**
 * Marks in the timer slack (prctl(2), PR_SET_TIMERSLACK): a fork and an execve keep it, and hardly a
 * program sets it. The kernel's default is 50,000 ns; a mark is a little more, below what anybody
 * notices. Every agent has a random range, and another one than the agent in whose session it runs itself, if it does.
 * Two that are beside each other may have the same: native/watchdog.c tells their processes apart.
 */
const defaultSlackNs = 50_000;
const ranges = 16;
const rangeSize = 1_024;

export class WalkMarks {
  /** The marks of sessions that end with the agent. */
  readonly first: number;
  readonly last: number;
  readonly #taken = new Set<number>();

  /**
   * @param random from 0 up to, but not including, 1.
   * @param ownSlackNs that of the agent's own process.
   */
  constructor(random: number, ownSlackNs: number) {
    const firsts = Array.from({ length: ranges }, (_, i) => defaultSlackNs + 1 + i * rangeSize).filter(
      (first) => ownSlackNs < first || ownSlackNs >= first + rangeSize,
    );
    this.first = firsts[Math.floor(random * firsts.length)] as number;
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
