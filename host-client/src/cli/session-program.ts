import { type Command, Option } from 'commander';
import { lineHelp, relayHelp } from './help-text.js';
import type { RelayFlags } from './relay.js';

export function addRelay(
  program: Command,
  lineOf: (named: string | undefined, command: Command) => string,
  ended: (exitCode: number) => void,
): void {
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
      ).argParser((path: string, before: readonly string[] = []) => [...before, path]),
    )
    .option('--verbose', 'say when clients come and go')
    .addHelpText('after', relayHelp)
    .action(async (line: string | undefined, flags: RelayFlags, self: Command) => {
      const spec = lineOf(line, self);
      const { relay } = await import('./relay.js');
      ended(await relay(spec, flags));
    });
}
