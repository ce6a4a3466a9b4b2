import type { ErrorCode } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';

/** What went wrong, by its code, and what a model can do about it. */
export function errorText(error: unknown): string {
  if (!(error instanceof HawserError))
    return `internal: ${error instanceof Error ? error.message : String(error)}`;
  const next = nextStep(error.code);
  return `${error.code}: ${error.message}${next === undefined ? '' : `\n${next}`}`;
}

/** Nothing where the message says it itself. */
function nextStep(code: ErrorCode): string | undefined {
  switch (code) {
    case 'not_found':
      return 'Look for the program with exec {"command": "command -v NAME"}; shell syntax needs "command" instead of "argv".';
    case 'interpreter_not_found':
      return 'Read the first line of the script, or run it with an interpreter that is there: {"argv": ["/bin/sh", "SCRIPT"]}.';
    case 'not_executable':
      return 'Set its mode with chmod +x, or run it with its interpreter: {"argv": ["/bin/sh", "SCRIPT"]}.';
    case 'permission_denied':
    case 'cwd_not_accessible':
    case 'limit_not_allowed':
      return 'Try another "user", such as "root".';
    case 'cwd_not_found':
      return 'Make the directory first, or leave "cwd" out.';
    case 'unknown_user':
    case 'unknown_group':
      return 'Users of the guest are in /etc/passwd, groups in /etc/group; a number works without an entry.';
    case 'arguments_too_long':
      return 'Give the data as "input", or with write_process_input.';
    case 'unknown_signal':
      return 'Use a name such as SIGTERM, SIGINT, SIGHUP, SIGUSR1 or SIGKILL.';
    case 'too_many_sessions':
      return 'End some first: list_processes with {"state": "running"}, then kill_process.';
    case 'unknown_session':
      return 'Call list_processes for the ids that there are; a process that has ended is forgotten after some minutes.';
    case 'session_ended':
      return 'Call wait_for_process for how it ended, and read_process_output for what it wrote.';
    case 'stdin_closed':
      return 'See with read_process_output and wait_for_process what the process does.';
    case 'stdin_taken':
      return 'Somebody else writes to the process now, and what was not read yet may be lost. Write again to take over.';
    case 'connection_lost':
    case 'connection_closed':
    case 'vm_ended':
      return 'Nothing can be reached any more: the user has to start this server again, once the guest is there.';
    case 'timed_out':
      return 'Try again in a moment.';
    default:
      return undefined;
  }
}
