import { createRequire } from 'node:module';
import { Command, CommanderError } from 'commander';
import { addCommandOptions, connectTimeout, token } from './command-options.js';
import type { DoctorFlags } from './doctor.js';
import type { ExecFlags } from './exec.js';
import { exitCodes } from './exit-code.js';
import { doctorHelp, execHelp, lineHelp, programHelp } from './help-text.js';
import { addMcp } from './mcp-program.js';
import { addRegistry } from './registry-program.js';
import type { ProgramParts } from './session-program.js';
import { addAttach, addRelay, addSessionOptions } from './session-program.js';
import { addRun, addVm } from './vm-program.js';

/** How commander fails when a command and its arguments stand where hawser's own are expected. */
const misplaced = new Set(['commander.unknownOption', 'commander.excessArguments']);

/** The commands that run a command of the guest's. */
const usages: Readonly<Record<string, string>> = {
  exec: 'hawser exec [LINE] -- COMMAND [ARGUMENT...]',
  run: 'hawser run [options] -- COMMAND [ARGUMENT...]',
};

/** Runs `hawser` with these arguments; resolves with the exit code. What a command needs is loaded when it runs. */
export async function runProgram(argv: readonly string[]): Promise<number> {
  const { own, command } = splitCommand(argv);
  let exitCode = 0;
  const program = createProgram(command, (code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync(own, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    const usage = usages[argv[0] ?? ''];
    if (usage !== undefined && command === undefined && misplaced.has(error.code))
      process.stderr.write(`The command to run comes after "--": ${usage}\n`);
    return error.exitCode === 0 ? 0 : exitCodes.hawserFailed;
  }
}

/** Everything behind the first `--` is the command's own, whatever it looks like. */
function splitCommand(argv: readonly string[]): {
  own: readonly string[];
  command: readonly string[] | undefined;
} {
  const at = Object.hasOwn(usages, argv[0] ?? '') ? argv.indexOf('--') : -1;
  return at === -1
    ? { own: argv, command: undefined }
    : { own: argv.slice(0, at), command: argv.slice(at + 1) };
}

/** The command tree; completion scripts are made from it. */
export function createProgram(
  command: readonly string[] | undefined,
  ended: (exitCode: number) => void,
): Command {
  const program = new Command('hawser')
    .description('Runs commands inside a microVM from the outside, over whatever byte line it has.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand('help [COMMAND]', 'print help for a command')
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'hawser: ')) })
    .configureHelp({ helpWidth: Math.min(process.stdout.columns ?? 100, 110) })
    .addHelpText('after', programHelp);
  addExec(program, command, ended);
  const parts: ProgramParts = { lineOf, ended };
  addAttach(program, parts);
  addRegistry(program, parts);
  addRelay(program, parts);
  addRun(program, command, ended);
  addVm(program, ended);
  addMcp(program, parts);
  addDoctor(program, ended);
  addCompletion(program);
  return program;
}

function addExec(
  program: Command,
  command: readonly string[] | undefined,
  ended: (exitCode: number) => void,
): void {
  addSessionOptions(addCommandOptions(program.command('exec')))
    .summary('run a command in the guest')
    .description('Runs a command in the guest: its output appears here, and its exit code is the exit code.')
    .usage('[options] [LINE] -- COMMAND [ARGUMENT...]')
    .argument('[LINE]', lineHelp)
    .addOption(token())
    .addOption(connectTimeout('30s'))
    .addHelpText('after', execHelp)
    .action(async (line: string | undefined, flags: ExecFlags, self: Command) => {
      const [cmd, ...args] = command ?? [];
      if (cmd === undefined)
        self.error('error: no command: it comes after "--", as in: hawser exec [LINE] -- uname -a');
      if (flags.surviveAgent && !flags.detach)
        self.error(
          'error: --survive-agent needs -d: a command that is followed from here ends with the agent',
        );
      const spec = lineOf(line, self);
      const { exec } = await import('./exec.js');
      ended(await exec({ line: spec, command: [cmd, ...args], flags }));
    });
}

function addDoctor(program: Command, ended: (exitCode: number) => void): void {
  program
    .command('doctor')
    .summary('say what answers on a line, and how fast')
    .description(
      'Says what answers on a line: versions, features, limits, round-trip time, sessions, counters.',
    )
    .argument('[LINE]', lineHelp)
    .addOption(token())
    .addOption(connectTimeout('5s'))
    .option('--json', 'print everything as one line of JSON on standard output')
    .addHelpText('after', doctorHelp)
    .action(async (line: string | undefined, flags: DoctorFlags, self: Command) => {
      const spec = lineOf(line, self);
      const { doctor } = await import('./doctor.js');
      ended(await doctor(spec, flags));
    });
}

function addCompletion(program: Command): void {
  program
    .command('completion')
    .summary('print a completion script for a shell')
    .description(
      'Prints a completion script: put it where the shell looks for such, or evaluate it at its start.',
    )
    .argument('<SHELL>', 'bash, zsh or fish')
    .addHelpText('after', '\nExample:\n  echo \'eval "$(hawser completion bash)"\' >> ~/.bashrc\n')
    .action(async (shell: string, _flags: unknown, self: Command) => {
      const { completionScript, isShell } = await import('./completion.js');
      if (!isShell(shell)) self.error(`error: no completion for the shell "${shell}": bash, zsh or fish`);
      process.stdout.write(completionScript(shell, program));
    });
}

/** The line that was named, or the one in the environment. */
function lineOf(named: string | undefined, command: Command): string {
  const line = named ?? process.env.HAWSER_LINE;
  if (line) return line;
  return command.error(
    `error: no line: name one, as in "hawser ${command.name()} unix:/run/hawser.sock", or set HAWSER_LINE`,
  );
}

function packageVersion(): string {
  const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };
  return version;
}
