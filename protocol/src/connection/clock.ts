/** The timers of a connection; real ones in programs, hand-driven ones in tests. */
export interface Clock {
  /** Milliseconds of a clock that never jumps. */
  now(): number;
  /** Calls back once after `ms`, without keeping the process alive. @returns cancels it. */
  after(ms: number, callback: () => void): () => void;
}

/** The process's monotonic clock and its timers. */
export const systemClock: Clock = {
  // `performance` would have to be loaded first, which a start feels.
  now: () => {
    const [seconds, nanoseconds] = process.hrtime();
    return seconds * 1e3 + nanoseconds / 1e6;
  },
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms).unref();
    return () => clearTimeout(timer);
  },
};
