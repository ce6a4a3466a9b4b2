import { HawserError } from '@hawser/protocol';
import * as z from 'zod';
import type { CommandOptions } from '../options.js';

/** What says which command runs, and how; of every tool that runs one. */
export const commandFields = {
  command: z
    .string()
    .min(1)
    .optional()
    .describe('A line for /bin/sh, such as "ls -l /var/log | head". Give this or argv.'),
  argv: z
    .array(z.string())
    .min(1)
    .optional()
    .describe('A program and its arguments, run as they are, without a shell. Give this or command.'),
  cwd: z.string().min(1).optional().describe('Working directory in the guest. Default: that of the agent.'),
  env: z
    .record(z.string(), z.string())
    .optional()
    .describe('Further environment variables. PATH, HOME and USER are there.'),
  user: z
    .string()
    .min(1)
    .optional()
    .describe('User in the guest: name, uid, name:group or uid:gid. Default: that of the agent.'),
};

type CommandFields = z.output<z.ZodObject<typeof commandFields>>;

/** @throws HawserError `invalid_argument` unless exactly one of `command` and `argv` is there. */
export function commandWords({ command, argv }: CommandFields): readonly [cmd: string, args: string[]] {
  if (command !== undefined && argv === undefined) return ['/bin/sh', ['-c', command]];
  const [cmd, ...args] = argv ?? [];
  if (cmd !== undefined && command === undefined) return [cmd, args];
  throw new HawserError(
    'invalid_argument',
    command === undefined
      ? 'nothing to run: give "command", a line for /bin/sh, or "argv", a program and its arguments'
      : 'both "command" and "argv" are there: give one of them',
  );
}

export function commandOptions({
  cwd,
  env,
  user,
}: CommandFields): Pick<CommandOptions, 'cwd' | 'env' | 'user'> {
  return {
    ...(cwd !== undefined && { cwd }),
    ...(env !== undefined && { env }),
    ...(user !== undefined && { user }),
  };
}
