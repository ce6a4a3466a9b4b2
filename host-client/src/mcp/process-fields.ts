import * as z from 'zod';
import type { SessionInfo } from '../sessions/session-registry.js';

export const processId = z
  .string()
  .min(1)
  .describe('The processId that start_process, exec or list_processes gave.');

export const bytesCount = z.number().int().nonnegative();

/** How a process is told in every answer about one. */
export const processFields = {
  processId: z.string(),
  name: z.string().nullable().describe('The name that it was started with.'),
  pid: z.number().int(),
  command: z.string(),
  state: z
    .enum(['starting', 'running', 'exited', 'signaled', 'unknown'])
    .describe('exited and signaled are ends; unknown is one of which nobody knows how.'),
  startedAt: z.string().nullable().describe("ISO time by the guest's clock."),
  durationMs: z.number().nonnegative().describe('How long it ran, or has been running.'),
  exitCode: z.number().int().nullable(),
  signal: z.string().nullable().describe('The signal that ended it.'),
};

export type ProcessDescription = z.output<z.ZodObject<typeof processFields>>;

const commandCharactersMax = 300;

export function describeProcess(info: SessionInfo): ProcessDescription {
  return {
    processId: info.id,
    name: info.labels.name ?? null,
    pid: info.pid,
    command: commandText(info.command, info.commandCut),
    state: info.state,
    startedAt: info.startedAt?.toISOString() ?? null,
    durationMs: durationMs(info),
    exitCode: info.exit?.code ?? null,
    signal: info.exit?.signal ?? null,
  };
}

export function isOver({ state }: SessionInfo): boolean {
  switch (state) {
    case 'starting':
    case 'running':
      return false;
    case 'exited':
    case 'signaled':
    case 'unknown':
      return true;
  }
}

/** For a message: `has exited with code 3`. */
export function endText({ state, exit }: SessionInfo): string {
  const { code = null, signal = null } = exit ?? {};
  if (signal !== null) return `was ended by ${signal}`;
  return code === null ? `has ended (${state})` : `has exited with code ${code}`;
}

/** Of a running one as far as the two clocks agree. */
function durationMs({ startedAt, endedAt, exit }: SessionInfo): number {
  if (exit !== null) return Math.round(exit.durationUs / 1000);
  if (startedAt === null) return 0;
  return Math.max(0, (endedAt?.getTime() ?? Date.now()) - startedAt.getTime());
}

/** As a shell would be given it; the line itself where it was given to one. */
function commandText(command: SessionInfo['command'], cut: boolean): string {
  const words = command.map((word) => (typeof word === 'string' ? word : Buffer.from(word).toString()));
  const [shell, option, line] = words;
  const ofShell = words.length === 3 && shell === '/bin/sh' && option === '-c' && line !== undefined;
  const text = ofShell ? line : words.map(quoted).join(' ');
  const short = shortened(text, commandCharactersMax);
  return cut && short === text ? `${text} …` : short;
}

/** Not within a character. */
export function shortened(text: string, charactersMax: number): string {
  if (text.length <= charactersMax) return text;
  return `${text.slice(0, charactersMax).replace(/[\uD800-\uDBFF]$/, '')}…`;
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
