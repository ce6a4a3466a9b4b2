import { type CommandModel, lineKinds, type OptionModel, type ProgramModel } from './completion-model.js';

const repeatable = new Set([
  '--env',
  '--rlimit',
  '--label',
  '--listen',
  '--disk',
  '--kernel-arg',
  '--filter',
]);

export function zshScript({ options, commands }: ProgramModel): string {
  return `#compdef hawser
# zsh completion for hawser, made by "hawser completion zsh"

_hawser_line() {
  if compset -P '(unix|uart|firecracker):'; then
    _files
  else
    compadd -S '' -- ${lineKinds.map(quote).join(' ')}
  fi
}

_hawser() {
  local context state state_descr line
  typeset -A opt_args
  _arguments -C \\
${options.map((option) => `    ${optionSpec(option)} \\`).join('\n')}
    '1:command:->command' \\
    '*::argument:->argument' && return
  case $state in
    command)
      local -a commands=(
${commands.map(({ name, summary }) => `        ${quote(`${name}:${summary}`)}`).join('\n')}
      )
      _describe command commands
      ;;
    argument)
      case $words[1] in
${commands.map(commandCase).join('\n')}
      esac
      ;;
  esac
}

if [[ $funcstack[1] == _hawser ]]; then
  _hawser "$@"
else
  compdef _hawser hawser
fi
`;
}

function commandCase({ name, options, operand }: CommandModel): string {
  const specs = options.map(optionSpec);
  if (operand === 'line') specs.push(quote('1:line:_hawser_line'));
  else specs.push(quote(`1:argument:(${operand.values.join(' ')})`));
  if (name === 'exec' || name === 'run') specs.push(quote('*::command in the guest:_files'));
  return `        ${quote(name)})
          _arguments -s -S \\
${specs.map((spec) => `            ${spec}`).join(' \\\n')}
          ;;`;
}

function optionSpec({ long, short, description, takes, values, path }: OptionModel): string {
  const flags = [short, long].filter((flag) => flag !== undefined);
  const before = repeatable.has(long) ? "'*'" : `'(${flags.join(' ')})'`;
  const action = path
    ? '_files'
    : values.length === 0
      ? ' '
      : values[0]?.endsWith('=')
        ? equalsAction(values)
        : `(${values.join(' ')})`;
  const value = takes === undefined ? '' : `:${escape(takes)}:${action}`;
  const names = flags.length === 1 ? (flags[0] ?? '') : `{${flags.join(',')}}`;
  return `${before}${names}${quote(`[${escape(description)}]${value}`)}`;
}

function equalsAction(values: readonly string[]): string {
  return `{compadd -S '' -- ${values.join(' ')}}`;
}

/** Inside a specification of _arguments, brackets and colons have a meaning. */
function escape(text: string): string {
  return text.replaceAll(/[\\[\]:]/g, String.raw`\$&`);
}

function quote(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
