/**
 * Every code a `HawserError` may carry. The set is closed: each has a paragraph in
 * `docs/errors.md`, and a test compares the two.
 */
export const errorCodes = [
  // A command did not start (`ExecFailed`)
  'not_found',
  'not_executable',
  'permission_denied',
  'interpreter_not_found',
  'cwd_not_found',
  'cwd_not_accessible',
  'unknown_user',
  'unknown_group',
  'arguments_too_long',
  'limit_not_allowed',
  'launch_failed',
  'cancelled',
  // A request was wrong
  'invalid_argument',
  'unknown_limit',
  'invalid_limit',
  'invalid_env',
  'unknown_signal',
  'unsupported',
  'too_many_sessions',
  'unknown_session',
  'session_ended',
  'session_running',
  'not_a_member',
  'not_a_terminal',
  // A running session
  'stdin_closed',
  'stdin_taken',
  'detached',
  'max_buffer',
  'output_mismatch',
  'system_call_failed',
  // The connection and its line
  'line_open_failed',
  'line_closed',
  'line_corrupt',
  'handshake_timeout',
  'rejected',
  'heartbeat_lost',
  'protocol_violation',
  'frame_too_large',
  'message_invalid',
  'limit_exceeded',
  'connection_closed',
  'connection_lost',
  // A VM that the host library started
  'vm_launch_failed',
  'vm_ended',
  'unknown_vm',
  'vm_name_in_use',
  'too_many_vms',
  'disk_in_use',
  'hypervisor_error',
  // The library and the programs
  'aborted',
  'timed_out',
  'missing_dependency',
  'invalid_config',
  'internal',
] as const;

export type ErrorCode = (typeof errorCodes)[number];

/** The step of a launch that failed, in the order in which the launcher takes them. */
export const launchStages = [
  'validate',
  'lookup',
  'pipe',
  'clone',
  'setsid',
  'terminal',
  'stdio',
  'cgroup',
  'rlimit',
  'nice',
  'oom_score',
  'umask',
  'groups',
  'gid',
  'uid',
  'no_new_privs',
  'cwd',
  'sigmask',
  'exec',
] as const;

export type LaunchStage = (typeof launchStages)[number];

export interface HawserErrorFields {
  /** Name of the errno the kernel gave, e.g. `ENOENT`. */
  readonly errno?: string | undefined;
  /** The launch step that failed. */
  readonly stage?: LaunchStage | undefined;
  readonly cause?: unknown;
  /** Who holds what was wanted: a VM's name, and the pid of its hypervisor. */
  readonly holder?: { readonly name: string; readonly pid: number } | undefined;
  /** What the command had written until then, where a call collects output. */
  readonly output?: { readonly stdout: Uint8Array; readonly stderr: Uint8Array } | undefined;
}

/**
 * The one error class of Hawser, on both sides of the line.
 *
 * `code` says what kind of thing went wrong and is stable; `message` names the thing, the value
 * and the limit; `errno` and `stage` are there where the kernel said no.
 *
 * @example
 * try {
 *   await agent.exec('no-such-program');
 * } catch (error) {
 *   if (error instanceof HawserError && error.code === 'not_found') console.error(error.message);
 * }
 */
export class HawserError extends Error {
  override readonly name = 'HawserError';
  readonly code: ErrorCode;
  readonly errno: string | undefined;
  readonly stage: LaunchStage | undefined;
  readonly holder: HawserErrorFields['holder'];
  readonly output: HawserErrorFields['output'];

  constructor(code: ErrorCode, message: string, fields: HawserErrorFields = {}) {
    super(message, fields.cause === undefined ? undefined : { cause: fields.cause });
    this.code = code;
    this.errno = fields.errno;
    this.stage = fields.stage;
    this.holder = fields.holder;
    this.output = fields.output;
  }
}

/** True for a code that this build knows; a newer peer may send others. */
export function isErrorCode(value: string): value is ErrorCode {
  return (errorCodes as readonly string[]).includes(value);
}
