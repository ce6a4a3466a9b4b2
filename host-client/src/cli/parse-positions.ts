import { BadValue } from './bad-value.js';

/** Positions in the outputs of a session, in bytes; absent where none was given. */
export interface OutputStart {
  readonly stdout?: number;
  readonly stderr?: number;
}

/** `N` of stdout, `N:M` of both, `:M` of stderr. */
export function parsePositions(text: string): OutputStart {
  const [, stdout, stderr] = /^(\d*)(?::(\d+))?$/.exec(text) ?? [];
  const start = {
    ...(stdout && { stdout: Number(stdout) }),
    ...(stderr && { stderr: Number(stderr) }),
  };
  if (Object.keys(start).length === 0 || !Object.values(start).every(Number.isSafeInteger))
    throw new BadValue(`"${text}" is no position in bytes: N of stdout, N:M of both, :M of stderr`);
  return start;
}
