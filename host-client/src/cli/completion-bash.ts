import {
  type CommandModel,
  lineKinds,
  type OptionModel,
  type ProgramModel,
  pathKinds,
} from './completion-model.js';

/**
 * Bash splits words at the characters of COMP_WORDBREAKS, `:` and `=` among them, and replaces only what is behind
 * the last of these; the script works with and without them there. It runs on bash 3.2 (macOS), which has no
 * `compopt` and no `mapfile`.
 */
export function bashScript({ options, commands }: ProgramModel): string {
  return `# bash completion for hawser, made by "hawser completion bash"

# Candidates of the words given that begin with $cur; those that end in = or : get no space behind.
_hawser_words() {
  local word
  for word in "$@"; do
    if [[ $word == "$cur"* ]]; then COMPREPLY+=("$word"); fi
  done
  if [[ \${#COMPREPLY[@]} -eq 1 && \${COMPREPLY[0]} == *[=:] ]]; then compopt -o nospace 2>/dev/null; fi
}

# Candidates of the file names that begin with $1, with $2 before each.
_hawser_files() {
  local name
  compopt -o filenames 2>/dev/null
  while IFS= read -r name; do COMPREPLY+=("$2$name"); done < <(compgen -f -- "$1")
}

_hawser_line() {
  if [[ $prev == : ]]; then
    case $kind in
      ${pathKinds.map((kind) => quote(kind.slice(0, -1))).join(' | ')}) _hawser_files "$cur" '' ;;
    esac
    return
  fi
  case $cur in
    ${pathKinds.map((kind) => `${kind}*`).join(' | ')}) _hawser_files "\${cur#*:}" "\${cur%%:*}:" ;;
    *) _hawser_words ${lineKinds.map(quote).join(' ')} ;;
  esac
}

# Whether the option $1 of the command takes a value; offers those that are known.
_hawser_value() {
  case $command,$1 in
${commands.flatMap(valueCases).join('\n')}
    *) return 1 ;;
  esac
}

_hawser() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} kind='' option='' command='' i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
      --) return 0 ;; # what follows is the guest's
      -*) ;;
      *) if [[ -z $command ]]; then command=\${COMP_WORDS[i]}; fi ;;
    esac
  done
  # "--option=value" and "unix:/path" come as three words, or as two when nothing is behind the = or : yet.
  if [[ $cur == [=:] ]]; then
    kind=$prev prev=$cur cur=''
  elif [[ $prev == [=:] ]]; then
    kind=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
  compopt +o default 2>/dev/null
  if [[ $prev == = ]]; then option=$kind; else option=$prev; fi
  if [[ $cur == -*=* ]]; then # where = breaks no words
    option=\${cur%%=*} cur=\${cur#*=}
    _hawser_value "$option"
    for i in "\${!COMPREPLY[@]}"; do COMPREPLY[i]=$option=\${COMPREPLY[i]}; done
    return 0
  fi
  if [[ $option == -* ]] && _hawser_value "$option"; then return 0; fi
  case $command in
    '')
      case $cur in
        -*) _hawser_words ${optionWords(options)} ;;
        *) _hawser_words ${commands.map(({ name }) => quote(name)).join(' ')} ;;
      esac
      ;;
${commands.map(commandCase).join('\n')}
  esac
}

complete -o default -F _hawser hawser
`;
}

function commandCase({ name, options, operand }: CommandModel): string {
  const offered =
    operand === 'line' ? '_hawser_line' : `_hawser_words ${operand.values.map(quote).join(' ')}`;
  return `    ${quote(name)})
      case $cur in
        -*) _hawser_words ${optionWords(options)} ;;
        *) ${offered} ;;
      esac
      ;;`;
}

function valueCases({ name, options }: CommandModel): string[] {
  return options
    .filter(({ takes }) => takes !== undefined)
    .map(({ long, short, values, path }) => {
      const patterns = [short, long]
        .filter((flag) => flag !== undefined)
        .map((flag) => quote(`${name},${flag}`));
      const words = values.length === 0 ? ':' : `_hawser_words ${values.map(quote).join(' ')}`;
      return `    ${patterns.join(' | ')}) ${path ? '_hawser_files "$cur" \'\'' : words} ;;`;
    });
}

function optionWords(options: readonly OptionModel[]): string {
  return options
    .flatMap(({ short, long }) => [short, long])
    .filter((flag) => flag !== undefined)
    .map(quote)
    .join(' ');
}

function quote(text: string): string {
  return /^[\w@%+,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
