import type { Command } from 'commander';
import { bashScript } from './completion-bash.js';
import { fishScript } from './completion-fish.js';
import { programModel, type Shell, shells } from './completion-model.js';
import { zshScript } from './completion-zsh.js';

const makers = { bash: bashScript, zsh: zshScript, fish: fishScript } as const satisfies Record<
  Shell,
  unknown
>;

export function isShell(name: string): name is Shell {
  return (shells as readonly string[]).includes(name);
}

/** The whole script; it calls nothing of hawser while completing. */
export function completionScript(shell: Shell, program: Command): string {
  return makers[shell](programModel(program));
}
