import type { Clock } from '@hawser/protocol';

/** The process's monotonic clock, and its timers, which keep nothing alive. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms).unref();
    return () => clearTimeout(timer);
  },
};
