/** As that of `node:timers/promises`, which would have to be loaded. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
