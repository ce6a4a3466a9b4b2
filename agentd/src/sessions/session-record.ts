import type { ExitRecord, SessionRecord, Text } from '@hawser/protocol';
import type { ExecPlan } from './exec-plan.js';

/** What changes while a session lives. */
interface SessionFacts
  extends Pick<
    SessionRecord,
    'generation' | 'pid' | 'state' | 'startedAtUs' | 'hosts' | 'stdinBytes' | 'stdout'
  > {
  readonly id: string;
  readonly endedAtUs: number | undefined;
  readonly exit: ExitRecord | undefined;
  readonly stderr?: SessionRecord['stderr'];
}

/** Of a command and its arguments, bytes; a record outlives its session, and a list has many. */
const commandBytesMax = 4096;

/** What the registry tells of a session. */
export function sessionRecord(plan: ExecPlan, facts: SessionFacts): SessionRecord {
  const { description } = plan;
  const { command, cut } = shortened(description.cmd, description.args);
  // Field by field, as an exit record is: every command that ends leaves one.
  return {
    sessionId: facts.id,
    generation: facts.generation,
    pid: facts.pid,
    state: facts.state,
    startedAtUs: facts.startedAtUs,
    endedAtUs: facts.endedAtUs,
    exit: facts.exit,
    hosts: facts.hosts,
    stdinBytes: facts.stdinBytes,
    stdout: facts.stdout,
    stderr: facts.stderr,
    command,
    commandCut: cut ? true : undefined,
    labels: description.labels,
    key: plan.key,
    user: description.user,
    uid: description.uid,
    gid: description.gid,
    cwd: description.cwd,
    tty: plan.terminal !== undefined,
    detached: description.detached,
    surviveAgent: plan.survives ? true : undefined,
  };
}

/** An end without a code or a signal is one that somebody else has waited for. */
export function stateName(exit: ExitRecord | undefined): SessionRecord['state'] {
  if (exit?.code !== undefined) return 'exited';
  return exit?.signal === undefined ? 'unknown' : 'signaled';
}

function shortened(cmd: Text, args: readonly Text[]): { command: Text[]; cut: boolean } {
  const command: Text[] = [];
  let left = commandBytesMax;
  for (let i = -1; i < args.length; i++) {
    const word = i < 0 ? cmd : (args[i] as Text);
    // A character of a string is a byte at least: what is cut may be a little longer than that in UTF-8.
    if (word.length > left) {
      command.push(typeof word === 'string' ? word.slice(0, left) : word.slice(0, left));
      return { command, cut: true };
    }
    command.push(word);
    left -= word.length + 1;
    if (left <= 0) return { command, cut: i + 1 < args.length };
  }
  return { command, cut: false };
}
