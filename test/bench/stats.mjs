/** The value that a share of the values does not exceed (nearest rank). `share` is 0 to 1. */
export function percentile(values, share) {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

export const median = (values) => percentile(values, 0.5);

/** What the report shows of a set of measurements, in their own unit. */
export function summarize(values) {
  return {
    count: values.length,
    p10: percentile(values, 0.1),
    p50: percentile(values, 0.5),
    p90: percentile(values, 0.9),
    p95: percentile(values, 0.95),
    p99: percentile(values, 0.99),
  };
}

/** The same of every set, by name. */
export const summarizeAll = (sets) =>
  Object.fromEntries(Object.entries(sets).map(([name, values]) => [name, summarize(values)]));

export const nsToMs = (ns) => ns / 1e6;

/** Bytes in nanoseconds as megabytes (1e6) a second. */
export const megabytesPerSecond = (bytes, ns) => (bytes / ns) * 1e3;
