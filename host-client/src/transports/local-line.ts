import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Line } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import type { OpenContext } from './connect-line.js';
import { openExec } from './exec-line.js';

/**
 * `local:[ARGUMENTS]`: an agent of our own on this machine, for trying things out and for tests. It
 * lives as long as the line. The agent's package is not a dependency of this one: it is looked for
 * beside it, or taken from `HAWSER_AGENTD`.
 */
export function openLocal(rest: string, context: OpenContext): Promise<Line> {
  const program = [process.execPath, ...agentProgram(), '--listen', 'stdio:', '--log-level', 'warn'];
  return openExec(`exec ${program.map(quoted).join(' ')} ${rest}`, context);
}

/** Node's flags, and the program. */
function agentProgram(): string[] {
  const given = process.env['HAWSER_AGENTD'];
  if (given !== undefined && given !== '') return [given];
  try {
    const { resolve } = createRequire(import.meta.url);
    const flags = JSON.parse(readFileSync(resolve('@hawser/agentd/node-flags'), 'utf8')) as string[];
    return [...flags, resolve('@hawser/agentd/bin')];
  } catch (cause) {
    throw new HawserError(
      'missing_dependency',
      'local: needs the package @hawser/agentd, or its program in HAWSER_AGENTD',
      { cause },
    );
  }
}

/** For a POSIX shell. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
