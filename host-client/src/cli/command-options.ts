import { type Command, InvalidArgumentError, Option } from 'commander';
import { BadValue } from './bad-value.js';
import { parseVariable } from './parse-assignment.js';
import { parseDuration } from './parse-duration.js';
import { parseRlimit } from './parse-rlimit.js';
import { parseSignal } from './parse-signal.js';
import { parseUmask } from './parse-umask.js';

/** The options that say how a command runs, for every way to run one. */
export function addCommandOptions(command: Command): Command {
  return command
    .option('-i, --interactive', 'give the command this standard input (else it reads an immediate end)')
    .option('-t, --tty', 'run it in a terminal of its own')
    .addOption(environment())
    .option('-w, --workdir <DIR>', 'working directory in the guest')
    .option('-u, --user <USER>', 'name, uid, name:group or uid:gid, looked up in the guest')
    .addOption(rlimits())
    .addOption(duration('--timeout <DURATION>', 'end the command after so long: 500ms, 5s, 2m'))
    .addOption(
      new Option(
        '--kill-signal <SIGNAL>',
        'what --timeout ends it with; SIGKILL follows (default: TERM)',
      ).argParser(checked(parseSignal)),
    )
    .addOption(
      new Option('--umask <MASK>', 'file mode mask, octal (default: 022)').argParser(checked(parseUmask)),
    )
    .option('--inherit-env', "start from the agent's own environment")
    .option('--json', 'print the exit record, or the error, as one last line of JSON on standard error');
}

function environment(): Option {
  return new Option(
    '-e, --env <NAME=VALUE>',
    'a variable of the command; NAME alone takes the value it has here',
  ).argParser(
    checked((text: string, before: Readonly<Record<string, string>> = {}) => {
      const variable = parseVariable(text, process.env);
      return variable === undefined ? before : { ...before, [variable[0]]: variable[1] };
    }),
  );
}

function rlimits(): Option {
  return new Option(
    '--rlimit <NAME=SOFT[:HARD]>',
    'a resource limit, such as nofile=64:128 or core=unlimited',
  ).argParser(
    checked((text: string, before: Readonly<Record<string, unknown>> = {}) => ({
      ...before,
      ...parseRlimit(text),
    })),
  );
}

export function token(): Option {
  return new Option(
    '--token <TOKEN>',
    'shown to an agent that wants one; the environment is the safer place for it',
  ).env('HAWSER_TOKEN');
}

export function connectTimeout(value: string): Option {
  return duration('--connect-timeout <DURATION>', 'give up when nothing answers for so long').default(
    parseDuration(value),
    value,
  );
}

export function duration(flags: string, description: string): Option {
  return new Option(flags, description).argParser(checked(parseDuration));
}

/** commander names the option and the value when a parser throws its own kind of error. */
export function checked<Before, Value>(
  parse: (text: string, before: Before) => Value,
): (text: string, before: Before) => Value {
  return (text, before) => {
    try {
      return parse(text, before);
    } catch (error) {
      if (error instanceof BadValue) throw new InvalidArgumentError(error.message);
      throw error;
    }
  };
}
