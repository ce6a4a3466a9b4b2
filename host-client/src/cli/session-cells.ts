import type { SessionInfo, SessionProcess } from '../index.js';
import { harmless } from './report.js';

/** `running`, `exited 3`, `killed SIGTERM` */
export function stateText({ state, exit }: Pick<SessionInfo, 'state' | 'exit'>): string {
  switch (state) {
    case 'starting':
    case 'running':
    case 'unknown':
      return state;
    case 'exited':
      return `exited ${exit?.code ?? ''}`.trimEnd();
    case 'signaled':
      return `killed ${exit?.signal ?? ''}`.trimEnd();
  }
}

/** Words as a shell would take them, in one line; bytes that are no text as `\xNN`. */
export function commandText({ command, commandCut }: Pick<SessionInfo, 'command' | 'commandCut'>): string {
  const words = command.map(wordText);
  return oneLine([...words, ...(commandCut ? ['…'] : [])].join(' '));
}

/** As `commandText`; one that has no words any more, a zombie for instance, as `[name]`. */
export function processText({ name, command, commandCut }: SessionProcess): string {
  if (command.length === 0) return oneLine(`[${name}]`);
  return commandText({ command, commandCut: commandCut ?? false });
}

/** A guest's text as one line that steers no terminal. */
export function oneLine(text: string): string {
  return harmless(text).replaceAll('\n', String.raw`\n`).replaceAll('\t', String.raw`\t`);
}

function wordText(word: string | Uint8Array): string {
  const text = typeof word === 'string' ? word : bytesText(word);
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

function bytesText(bytes: Uint8Array): string {
  return [...bytes]
    .map((byte) =>
      byte < 0x80 ? String.fromCharCode(byte) : String.raw`\x${byte.toString(16).padStart(2, '0')}`,
    )
    .join('');
}
