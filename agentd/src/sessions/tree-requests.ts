import type { Message, Payload } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import { asHawserError } from '../faults.js';
import type { ProcessTree } from '../processes/containment/process-tree.js';
import { signalNumber } from '../processes/signals.js';

const names = ['Members', 'KillTree', 'KillOne', 'Freeze', 'Thaw', 'Stats'] as const;
type TreeRequestName = (typeof names)[number];
export type TreeRequest = Extract<Message, { name: TreeRequestName }>;
type ReplyName = 'Done' | 'MembersReply' | 'StatsReply' | 'Failure';

/** Processes in one reply: as many as one frame holds, however they are called. */
const processesMax = 16_384;

/** A request about a session's processes, on its channel or, with its id, on channel 0. */
export function isTreeRequest(message: Message): message is TreeRequest {
  return (names as readonly string[]).includes(message.name);
}

/**
 * Answers such a request, at once or, for `KillTree` and `Freeze`, when it is so.
 *
 * @param tree `undefined` where no session of that name has processes.
 * @param send to whoever asked; never called when its connection has ended meanwhile.
 */
export function answerTreeRequest(
  tree: ProcessTree | undefined,
  message: TreeRequest,
  send: <N extends ReplyName>(name: N, body: Payload<N>) => void,
): void {
  act(tree, message, send)
    .then((later) => later && send('Done', { re: message.number }))
    .catch((error: unknown) => {
      const { code, message: text, errno } = asHawserError(error, message.name);
      send('Failure', { re: message.number, code, message: text, errno });
      if (!(error instanceof HawserError)) throw error; // a fault, which is reported as such
    });
}

/** @returns whether `Done` is still to be sent. */
async function act(
  tree: ProcessTree | undefined,
  message: TreeRequest,
  send: <N extends ReplyName>(name: N, body: Payload<N>) => void,
): Promise<boolean> {
  const re = message.number;
  if (tree === undefined) throw nobodyLeft(message.body.sessionId);
  switch (message.name) {
    case 'Members': {
      const all = tree.members();
      const processes = all.slice(0, processesMax).map((member) => ({
        ...member,
        command: [...member.command],
        commandCut: member.commandCut ? true : undefined,
      }));
      const omitted = all.length > processesMax ? all.length - processesMax : undefined;
      send('MembersReply', { re, confidence: tree.confidence, processes, omitted });
      return false;
    }
    case 'Stats':
      send('StatsReply', { re, confidence: tree.confidence, ...tree.stats() });
      return false;
    case 'KillTree':
      await tree.killTree();
      return true;
    case 'KillOne':
      tree.killOne(message.body.pid, signalNumber(message.body.signal ?? 'SIGKILL'));
      return true;
    case 'Freeze':
      await tree.freeze();
      return true;
    case 'Thaw':
      await tree.thaw();
      return true;
  }
}

function nobodyLeft(sessionId: string | undefined): HawserError {
  if (sessionId === undefined)
    return new HawserError('invalid_argument', 'no sessionId, and no session here');
  return new HawserError(
    'session_ended',
    `no process of session ${sessionId} is left, if ever there was one`,
  );
}
