import { type Command, Option } from 'commander';
import { checked, connectTimeout, duration, token } from './command-options.js';
import { lineKinds } from './completion-model.js';
import { lineHelp } from './help-text.js';
import type { KillFlags } from './kill.js';
import type { LogsFlags } from './logs.js';
import type { AgentFlags } from './on-agent.js';
import { parseDuration } from './parse-duration.js';
import { parseFilter } from './parse-filter.js';
import { parsePositions } from './parse-positions.js';
import { parseBytes } from './parse-session-options.js';
import { parseSignal } from './parse-signal.js';
import { parseWhole } from './parse-whole.js';
import type { PsFlags } from './ps.js';
import { inspectHelp, killHelp, logsHelp, psHelp, rmHelp, topHelp, waitHelp } from './registry-help.js';
import type { RmFlags } from './rm.js';
import type { ProgramParts } from './session-program.js';
import type { TopFlags } from './top.js';
import { usageOrders } from './usage.js';
import type { WaitFlags } from './wait.js';

/** The commands about sessions that are there, whoever started them. */
export function addRegistry(program: Command, parts: ProgramParts): void {
  addPs(program, parts);
  addTop(program, parts);
  addLogs(program, parts);
  addWait(program, parts);
  addKill(program, parts);
  addRm(program, parts);
  addInspect(program, parts);
}

function addPs(program: Command, { lineOf, ended }: ProgramParts): void {
  program
    .command('ps')
    .summary('list sessions')
    .description('Lists the sessions that run, whoever started them.')
    .argument('[LINE]', lineHelp)
    .option('-a, --all', 'also those that have ended')
    .addOption(
      new Option(
        '--filter <WHICH>',
        'label=NAME, label=NAME=VALUE or state=STATE; may be given more than once',
      ).argParser(checked(parseFilter)),
    )
    .addOption(new Option('-q, --quiet', 'only ids').conflicts(['json', 'tree']))
    .option('--tree', 'the processes of each session below it')
    .option('--no-trunc', 'whole ids and commands')
    .option('--json', 'print everything as one array of JSON')
    .addOption(token())
    .addOption(connectTimeout('30s'))
    .addHelpText('after', psHelp)
    .action(async (line: string | undefined, flags: PsFlags, self: Command) => {
      const spec = lineOf(line, self);
      const { ps } = await import('./ps.js');
      ended(await ps(spec, flags));
    });
}

function addTop(program: Command, { lineOf, ended }: ProgramParts): void {
  program
    .command('top')
    .summary('watch what sessions use')
    .description('Shows what each session that has processes uses, again and again.')
    .argument('[LINE]', lineHelp)
    .addOption(new Option('--sort <COLUMN>', 'what comes first').choices([...usageOrders]).default('cpu'))
    .addOption(
      duration('--interval <DURATION>', 'how often: 500ms, 2s, 1m').default(parseDuration('2s'), '2s'),
    )
    .addOption(
      new Option('-n, --count <COUNT>', 'print so many tables, and end').argParser(checked(parseWhole)),
    )
    .addOption(new Option('--once', 'print one table, and end').conflicts('count'))
    .addOption(token())
    .addOption(connectTimeout('30s'))
    .addHelpText('after', topHelp)
    .action(async (line: string | undefined, flags: TopFlags, self: Command) => {
      const spec = lineOf(line, self);
      const { top } = await import('./top.js');
      ended(await top(spec, flags));
    });
}

function addLogs(program: Command, parts: ProgramParts): void {
  const logs = program
    .command('logs')
    .summary('print what a session has written')
    .description('Prints what a session has written, its standard output here and its standard error there.')
    .option('-f, --follow', 'and what it writes from now on, until nobody holds its output any more')
    .addOption(
      new Option(
        '--since-byte <N[:M]>',
        'from position N of standard output, M of standard error (:M alone)',
      ).argParser(checked(parsePositions)),
    )
    .addOption(
      new Option('--tail <BYTES>', 'only the last bytes of each output: 4096, 64K')
        .argParser(checked(parseBytes))
        .conflicts('sinceByte'),
    )
    .option('--stdout', 'only standard output')
    .option('--stderr', 'only standard error');
  forSessions(logs, parts, async (line, [name, ...more]) => {
    if (more.length > 0) logs.error('error: too many arguments: hawser logs [LINE] SESSION');
    const { logs: print } = await import('./logs.js');
    return print(line, name, logs.opts<LogsFlags>());
  })
    .usage('[options] [LINE] SESSION')
    .addHelpText('after', logsHelp);
}

function addWait(program: Command, parts: ProgramParts): void {
  const command = program
    .command('wait')
    .summary('wait for sessions to end')
    .description("Waits until each session's leader is dead, and prints its exit code or its signal's name.")
    .addOption(duration('--timeout <DURATION>', 'give up after so long; the sessions go on'));
  forSessions(command, parts, async (line, names) => {
    const { wait } = await import('./wait.js');
    return wait(line, names, command.opts<WaitFlags>());
  }).addHelpText('after', waitHelp);
}

function addKill(program: Command, parts: ProgramParts): void {
  const command = program
    .command('kill')
    .summary('send sessions a signal')
    .description("Sends a signal to the process group of each session's leader, and prints its id.")
    .addOption(
      new Option('-s, --signal <SIGNAL>', 'another signal than KILL: TERM, 15, RTMIN+1')
        .argParser(checked(parseSignal))
        .default('SIGKILL', 'KILL'),
    )
    .option('--tree', 'to all of its processes; with KILL, returns when they are gone');
  forSessions(command, parts, async (line, names) => {
    const { kill } = await import('./kill.js');
    return kill(line, names, command.opts<KillFlags>());
  }).addHelpText('after', killHelp);
}

function addRm(program: Command, parts: ProgramParts): void {
  const command = program
    .command('rm')
    .summary('forget sessions that have ended')
    .description('Has the agent forget sessions that have ended, and their output; prints their ids.')
    .option('-f, --force', 'kill all processes of those that run first');
  forSessions(command, parts, async (line, names) => {
    const { rm } = await import('./rm.js');
    return rm(line, names, command.opts<RmFlags>());
  }).addHelpText('after', rmHelp);
}

function addInspect(program: Command, parts: ProgramParts): void {
  const command = program
    .command('inspect')
    .summary('print everything that is known of sessions')
    .description('Prints everything that is known of sessions, as one array of JSON.');
  forSessions(command, parts, async (line, names) => {
    const { inspect } = await import('./inspect.js');
    return inspect(line, names, command.opts<AgentFlags>());
  }).addHelpText('after', inspectHelp);
}

type Names = readonly [string, ...string[]];

/** Completes a command whose operands are a line, which may be left out, and sessions. */
function forSessions(
  command: Command,
  { lineOf, ended }: ProgramParts,
  work: (line: string, names: Names) => Promise<number>,
): Command {
  return command
    .usage('[options] [LINE] SESSION...')
    .argument('<LINE...>', `${lineHelp}, and sessions: id, beginning of one, number, or name`)
    .addOption(token())
    .addOption(connectTimeout('30s'))
    .action(async (operands: readonly string[], _flags: unknown, self: Command) => {
      const line = lineKinds.some((kind) => operands[0]?.startsWith(kind)) ? operands[0] : undefined;
      const [name, ...others] = line === undefined ? operands : operands.slice(1);
      if (name === undefined)
        return self.error(`error: no session: hawser ${self.name()} [LINE] SESSION ("hawser ps" lists them)`);
      ended(await work(lineOf(line, self), [name, ...others]));
    });
}
