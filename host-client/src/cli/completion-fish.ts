import {
  type CommandModel,
  lineKinds,
  type OptionModel,
  type ProgramModel,
  pathKinds,
} from './completion-model.js';

export function fishScript({ options, commands }: ProgramModel): string {
  return `# fish completion for hawser, made by "hawser completion fish"

# Whether the first word that is not an option is $argv[1], and no "--" has come.
function __hawser_in
    set -l words (commandline -opc)
    contains -- -- $words; and return 1
    for word in $words[2..-1]
        string match -q -- '-*' $word; and continue
        test $word = $argv[1]
        return
    end
    return 1
end

function __hawser_without_command
    set -l words (commandline -opc)
    for word in $words[2..-1]
        string match -q -- '-*' $word; or return 1
    end
    return 0
end

function __hawser_lines
    set -l current (commandline -ct)
    for kind in ${pathKinds.map(quote).join(' ')}
        if string match -q -- "$kind*" $current
            __fish_complete_path (string replace -- $kind '' $current) | string replace -r '^' $kind
            return
        end
    end
    printf '%s\\n' ${lineKinds.map(quote).join(' ')}
end

complete -c hawser -n 'not contains -- -- (commandline -opc)' -f
${options.map((option) => optionLine('__hawser_without_command', option)).join('\n')}
${commands
  .map(
    ({ name, summary }) =>
      `complete -c hawser -n __hawser_without_command -a ${quote(name)} -d ${quote(summary)}`,
  )
  .join('\n')}
${commands.map(commandLines).join('\n')}
`;
}

function commandLines({ name, options, operand }: CommandModel): string {
  const within = `__hawser_in ${name}`;
  const offered = operand === 'line' ? '(__hawser_lines)' : operand.values.join(' ');
  return [
    `complete -c hawser -n ${quote(within)} -a ${quote(offered)}`,
    ...options.map((option) => optionLine(within, option)),
  ].join('\n');
}

function optionLine(
  condition: string,
  { long, short, description, takes, values, path }: OptionModel,
): string {
  const flags = [...(short === undefined ? [] : [`-s ${short.slice(1)}`]), `-l ${long.slice(2)}`].join(' ');
  const value =
    takes === undefined
      ? ''
      : path
        ? ' -r -F'
        : ` -x${values.length === 0 ? '' : ` -a ${quote(values.join(' '))}`}`;
  return `complete -c hawser -n ${quote(condition)} ${flags}${value} -d ${quote(description)}`;
}

function quote(text: string): string {
  return `'${text.replaceAll(/[\\']/g, String.raw`\$&`)}'`;
}
