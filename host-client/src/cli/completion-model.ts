import type { Command } from 'commander';
import { sessionStates } from './parse-filter.js';
import { rlimitNames } from './parse-rlimit.js';
import { signalNames } from './parse-signal.js';

export interface OptionModel {
  /** `--timeout`. */
  readonly long: string;
  /** `-t`, where there is one. */
  readonly short: string | undefined;
  readonly description: string;
  /** The value's placeholder, where the option takes one. */
  readonly takes: string | undefined;
  /** Values, or beginnings of values (they end in `=`), worth offering. */
  readonly values: readonly string[];
  /** The value is a path on this machine. */
  readonly path: boolean;
}

export interface CommandModel {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly OptionModel[];
  readonly operand: 'line' | { readonly values: readonly string[] };
}

export interface ProgramModel {
  readonly options: readonly OptionModel[];
  readonly commands: readonly CommandModel[];
}

/** Beginnings of lines, by which a line is told from a session; what follows those in `pathKinds` is a path on this machine. */
export const lineKinds = ['unix:', 'uart:', 'vsock:', 'firecracker:', 'exec:', 'local:', 'vm:'] as const;
export const pathKinds = ['unix:', 'uart:', 'firecracker:'] as const;

export const shells = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof shells)[number];

const shortSignalNames = signalNames.map((name) => name.slice('SIG'.length));

const optionValues: Readonly<Record<string, readonly string[]>> = {
  '--rlimit': rlimitNames.map((name) => `${name}=`),
  '--on-disconnect': ['terminate', 'kill', 'keep'],
  '--detach-keys': ['ctrl-p,ctrl-q'],
  '--kill-signal': shortSignalNames,
  '--signal': shortSignalNames,
  '--filter': ['label=', ...sessionStates.map((state) => `state=${state}`)],
};

/** Options whose value is a path on this machine. */
const pathOptions = new Set(['--image', '--kernel', '--disk']);

/** What the scripts are made of, read from the command tree. */
export function programModel(program: Command): ProgramModel {
  const help = program.createHelp();
  const commands = help.visibleCommands(program);
  const names = commands.map((command) => command.name());
  const ownOptions = (command: Command): OptionModel[] =>
    help.visibleOptions(command).map((option) => ({
      long: option.long ?? '',
      short: option.short,
      description: option.description,
      takes: option.required ? /<(.+)>/.exec(option.flags)?.[1] : undefined,
      values: option.argChoices ?? optionValues[option.long ?? ''] ?? [],
      path: pathOptions.has(option.long ?? ''),
    }));
  // Those of a command's own commands are offered behind any of them.
  const optionsOf = (command: Command): OptionModel[] => {
    const all = [command, ...subcommands(command)].flatMap(ownOptions);
    return all.filter(({ long }, index) => all.findIndex((other) => other.long === long) === index);
  };
  return {
    options: ownOptions(program),
    commands: commands.map((command) => ({
      name: command.name(),
      summary: command.summary() || command.description(),
      options: optionsOf(command),
      operand: operandOf(command, names),
    })),
  };
}

/** `hawser vm` has some. */
function subcommands(command: Command): readonly Command[] {
  return command.commands.filter((sub) => sub.name() !== 'help');
}

function operandOf(command: Command, commandNames: readonly string[]): CommandModel['operand'] {
  switch (command.registeredArguments[0]?.name()) {
    case 'LINE':
      return 'line';
    case 'SHELL':
      return { values: shells };
    case undefined:
      return { values: subcommands(command).map((sub) => sub.name()) };
    default:
      return { values: commandNames };
  }
}
