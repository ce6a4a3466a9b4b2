import { setTimeout as delay } from 'node:timers/promises';

/** Settles as `promise` does, or rejects after `timeoutMs` with an error that says what was waited for. */
export async function within(promise, timeoutMs, what) {
  const timer = new AbortController();
  const expiry = delay(timeoutMs, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
  });
  // Its rejection at `abort()` has nobody to wait for it.
  expiry.catch(() => undefined);
  try {
    return await Promise.race([promise, expiry]);
  } finally {
    timer.abort();
  }
}

/** Asks `condition` every `intervalMs` until it gives something true. */
export async function until(condition, { timeoutMs, intervalMs, what }) {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > end) throw new Error(`waited ${timeoutMs} ms in vain until ${what}`);
    await delay(intervalMs);
  }
}
