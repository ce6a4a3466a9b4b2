const units = ['K', 'M', 'G', 'T', 'P'] as const;

/** At most five characters: `512B`, `1.5K`, `12M`, `3.0G`; powers of 1024. */
export function compactBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes}B`;
  let amount = bytes / 1024;
  let unit = 0;
  while (amount >= 999.5 && unit < units.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  return `${amount < 9.95 ? amount.toFixed(1) : amount.toFixed(0)}${units[unit]}`;
}

/** How long ago: `42s`, `3m5s`, `2h10m`, `5d3h`; a clock that was set back gives `0s`. */
export function compactAge(elapsedMs: number): string {
  const seconds = Math.max(0, Math.floor(elapsedMs / 1000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${seconds % 60}s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h${Math.floor((seconds % 3600) / 60)}m`;
  return `${Math.floor(seconds / 86_400)}d${Math.floor((seconds % 86_400) / 3600)}h`;
}

/** Processor time: `0.52s`, `12.3s`, and then as an age. */
export function compactCpuTime(microseconds: number): string {
  const seconds = microseconds / 1e6;
  if (seconds < 9.995) return `${seconds.toFixed(2)}s`;
  return seconds < 59.95 ? `${seconds.toFixed(1)}s` : compactAge(seconds * 1000);
}
