import { type Command, Option } from 'commander';
import type { AttachFlags } from './attach.js';
import { checked, connectTimeout, token } from './command-options.js';
import { attachHelp, lineHelp, relayHelp } from './help-text.js';
import { parseAssignment } from './parse-assignment.js';
import { parseDetachKeys } from './parse-detach-keys.js';
import { parseBytes, parseOnDisconnect } from './parse-session-options.js';
import type { RelayFlags } from './relay.js';

/** What these commands take from the program that they are part of. */
export interface ProgramParts {
  /** The line that was named, or the one in the environment. */
  readonly lineOf: (named: string | undefined, command: Command) => string;
  readonly ended: (exitCode: number) => void;
}

/** The options of `hawser exec` that say how its session is found again, and what becomes of it meanwhile. */
export function addSessionOptions(command: Command): Command {
  return command
    .option('-d, --detach', 'leave the command to itself, and print its session id')
    .option('--survive-agent', 'with -d: its processes go on when the agent ends, or is killed')
    .addOption(detachKeys())
    .option('--name <NAME>', 'a label of the session: name=NAME')
    .addOption(
      new Option('--label <NAME=VALUE>', 'a label of the session; may be given more than once').argParser(
        checked((text: string, before: Readonly<Record<string, string>> = {}) => {
          const [name, value] = parseAssignment(text);
          return { ...before, [name]: value };
        }),
      ),
    )
    .option(
      '--key <KEY>',
      'names the command: the same key again finds its session instead of running it twice',
    )
    .addOption(
      new Option(
        '--on-disconnect <ACTION[:AFTER]>',
        'when nobody is attached any more: terminate, kill (at once, or as in kill:30s), or keep',
      ).argParser(checked(parseOnDisconnect)),
    )
    .addOption(
      new Option('--when-full <WHAT>', 'with nobody attached and no room: block or drop-oldest').choices([
        'block',
        'drop-oldest',
      ]),
    )
    .addOption(
      new Option(
        '--history <BYTES>',
        'output that was read and is kept for attach, of each: 64K, 1M',
      ).argParser(checked(parseBytes)),
    )
    .option(
      '--verbose',
      'say when the connection is being resumed, also where standard error is no terminal',
    );
}

export function addAttach(program: Command, { lineOf, ended }: ProgramParts): void {
  program
    .command('attach')
    .summary('follow a session that is there')
    .description(
      'Follows a session: its output appears here, what is typed goes to it, its exit code is the exit code.',
    )
    .usage('[options] [LINE] SESSION')
    .argument('<LINE...>', `${lineHelp}, and a session: id, beginning of one, number, or name`)
    .option('--from-start', 'everything that is kept of its output, instead of what comes from now on')
    .option('--no-stdin', 'only read')
    .addOption(detachKeys())
    .addOption(token())
    .addOption(connectTimeout('30s'))
    .option('--verbose', 'say when the connection is being resumed, also where standard error is no terminal')
    .option('--json', 'print the exit record, or the error, as one last line of JSON on standard error')
    .addHelpText('after', attachHelp)
    .action(async (operands: readonly string[], flags: AttachFlags, self: Command) => {
      if (operands.length > 2) self.error('error: too many arguments: hawser attach [LINE] SESSION');
      const [line, name] = operands.length === 1 ? [undefined, operands[0]] : operands;
      const spec = lineOf(line, self);
      const { attach } = await import('./attach.js');
      ended(await attach(spec, name as string, flags));
    });
}

export function addRelay(program: Command, { lineOf, ended }: ProgramParts): void {
  program
    .command('relay')
    .summary('share a line among many clients')
    .description(
      'Shares a line that only one process can hold among up to 255 clients on this machine. "hawser" finds a relay by itself.',
    )
    .argument('[LINE]', lineHelp)
    .addOption(
      new Option(
        '--listen <unix:PATH>',
        'a further socket to listen on; may be given more than once',
      ).argParser<readonly string[] | undefined>((path, before) => [...(before ?? []), path]),
    )
    .option('--verbose', 'say when clients come and go')
    .addHelpText('after', relayHelp)
    .action(async (line: string | undefined, flags: RelayFlags, self: Command) => {
      const spec = lineOf(line, self);
      const { relay } = await import('./relay.js');
      ended(await relay(spec, flags));
    });
}

const detachKeysDefault = 'ctrl-p,ctrl-q';

function detachKeys(): Option {
  return new Option(
    '--detach-keys <KEYS>',
    'what to type in a terminal to leave the session to itself; none where empty',
  )
    .argParser(checked(parseDetachKeys))
    .default(parseDetachKeys(detachKeysDefault), detachKeysDefault);
}
