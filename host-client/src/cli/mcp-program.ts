import type { Command } from 'commander';
import { connectTimeout, token } from './command-options.js';
import { lineHelp, mcpHelp } from './help-text.js';
import type { McpFlags } from './mcp.js';
import type { ProgramParts } from './session-program.js';

export function addMcp(program: Command, { lineOf, ended }: ProgramParts): void {
  program
    .command('mcp')
    .summary('let a language model run commands in the guest')
    .description(
      'Serves the Model Context Protocol on standard input and output: tools to run commands in the guest. A client starts it.',
    )
    .argument('[LINE]', lineHelp)
    .addOption(token())
    .addOption(connectTimeout('30s'))
    .addHelpText('after', mcpHelp)
    .action(async (line: string | undefined, flags: McpFlags, self: Command) => {
      const spec = lineOf(line, self);
      const { mcp } = await import('./mcp.js');
      ended(await mcp(spec, flags));
    });
}
