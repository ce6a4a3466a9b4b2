import { BadValue } from './bad-value.js';

const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;

/** `500ms`, `5s`, `1.5m`, `2h` as milliseconds. A number without a unit is refused: nobody can tell what it means. */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text);
  if (match === null)
    throw new BadValue(`"${text}" is not a duration: a number and ms, s, m or h, such as 500ms, 5s or 2m`);
  const durationMs = Number(match[1]) * unitMs[match[2] as keyof typeof unitMs];
  if (durationMs < 1 || !Number.isSafeInteger(Math.round(durationMs)))
    throw new BadValue(`"${text}" is out of range: a duration is at least 1ms`);
  return Math.round(durationMs);
}
