import type { Connection, ExitRecord, Message, Payload, SessionRecord } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import type { Attachment, AttachmentHandler } from '../sessions/attachment.js';
import { OutputSpool } from '../sessions/output-spool.js';
import { SessionOutputs } from '../sessions/session-outputs.js';

/** A session of which nothing is left but what is known of it: its output was read by those who were attached, and is gone. */
export class EndedSession implements AttachmentHandler {
  readonly record: SessionRecord;
  readonly #attachments = new Set<Attachment>();

  constructor(record: SessionRecord) {
    this.record = record;
  }

  get id(): string {
    return this.record.sessionId;
  }

  get generation(): number {
    return this.record.generation;
  }

  get labels(): Readonly<Record<string, string>> {
    return this.record.labels;
  }

  get state(): SessionRecord['state'] {
    return this.record.state;
  }

  get ended(): boolean {
    return true;
  }

  discard(): void {
    // Whoever reads its ends has them from its attachment.
  }

  /** As `ExecSession.attach`: what the host asks to read of the past comes as a gap, and then the end. */
  attach(attachment: Attachment, request: Payload<'Attach'>): Omit<Payload<'Attached'>, 're'> {
    const { sessionId, pid, startedAtUs, tty } = this.record;
    this.#attachments.add(attachment);
    attachment.follow(this);
    const outputs = emptyOutputs(attachment.channel.connection, this.record);
    const told = outputs.follow(attachment, request);
    outputs.finish();
    return { sessionId, pid, startedAtUs, tty, ...told };
  }

  /** As `ExecSession.begin`. */
  begin(attachment: Attachment): void {
    attachment.tell('Exited', this.record.exit as ExitRecord);
    this.consumed(attachment);
  }

  message({ channel }: Attachment, message: Message): void {
    if (message.name === 'Detach') {
      channel.send('Done', { re: message.number });
      return;
    }
    const text = `session ${this.id} has ended`;
    channel.send('Failure', { re: message.number, code: 'session_ended', message: text });
  }

  lost(attachment: Attachment): void {
    this.#attachments.delete(attachment);
  }

  consumed(attachment: Attachment): void {
    if (attachment.consumedAll && this.#attachments.delete(attachment)) attachment.release();
  }
}

/** Outputs that have carried so much, and hold nothing of it. */
function emptyOutputs(connection: Connection, { stdout, stderr }: SessionRecord): SessionOutputs {
  const empty = ({ bytes }: SessionRecord['stdout']): OutputSpool =>
    new OutputSpool(connection.newSpool(0, bytes), { historyBytes: 0, whenFull: 'block' }, () => {});
  return new SessionOutputs(empty(stdout), stderr && empty(stderr));
}

export function unknownSession(sessionId: string): HawserError {
  return new HawserError('unknown_session', `no session ${JSON.stringify(sessionId.slice(0, 64))}`);
}
