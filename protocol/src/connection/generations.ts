/** The generations of the protocol that this build speaks, oldest first. */
export const generations = [1] as const;

/** @returns the newest generation that both speak, or `undefined`. */
export function commonGeneration(theirs: readonly number[]): number | undefined {
  return generations.filter((generation) => theirs.includes(generation)).at(-1);
}
