import type { ExitRecord, Payload, SessionRecord } from '@hawser/protocol';
import type { Attachment } from './attachment.js';
import type { OutputSpool } from './output-spool.js';

type AttachRequest = Pick<Payload<'Attach'>, 'stdout' | 'stderr' | 'follow'>;
type From = AttachRequest['stdout'];

/** Where a host begins to read one output; `undefined` for an output that it does not read. */
interface Place {
  readonly from: number | undefined;
  readonly until: number | undefined;
}

/** What a session's command writes: two outputs, or one where it has a terminal. */
export class SessionOutputs {
  readonly stdout: OutputSpool;
  readonly stderr: OutputSpool | undefined;

  constructor(stdout: OutputSpool, stderr: OutputSpool | undefined) {
    this.stdout = stdout;
    this.stderr = stderr;
  }

  /** How much each has carried. */
  get counts(): Pick<ExitRecord, 'stdout' | 'stderr'> {
    return { stdout: this.stdout.count, stderr: this.stderr?.count ?? { bytes: 0, dropped: 0 } };
  }

  /** How much of it can still be read. */
  get retained(): Pick<SessionRecord, 'stdout' | 'stderr'> {
    return { stdout: retained(this.stdout), stderr: this.stderr && retained(this.stderr) };
  }

  /**
   * One more host reads, from where it asks.
   *
   * @returns what it is told of that, before anything of an output is sent to it.
   */
  follow(attachment: Attachment, request: AttachRequest): Pick<Payload<'Attached'>, 'stdout' | 'stderr'> {
    const { stdout, stderr } = this;
    const told = {
      stdout: kept(stdout, request.stdout),
      stderr: stderr && kept(stderr, request.stderr),
    };
    read(attachment, 'Stdout', stdout, placeOf(stdout, request.stdout, request));
    if (stderr !== undefined) read(attachment, 'Stderr', stderr, placeOf(stderr, request.stderr, request));
    return told;
  }

  /** There will be no more of any. */
  finish(): void {
    this.stdout.finish();
    this.stderr?.finish();
  }

  /** A connection whose memory it may have been is over. */
  disown(): void {
    this.stdout.disown();
    this.stderr?.disown();
  }

  close(): void {
    this.stdout.close();
    this.stderr?.close();
  }
}

function retained(output: OutputSpool): SessionRecord['stdout'] {
  const { bytes, dropped } = output.count;
  return { bytes, dropped, start: output.start };
}

function positionOf(output: OutputSpool, from: From): number {
  if (from === 'start') return output.start;
  return typeof from === 'number' ? Math.min(from, output.end) : output.end;
}

function kept(output: OutputSpool, from: From): Payload<'Attached'>['stdout'] {
  return { from: positionOf(output, from), start: output.start, end: output.end };
}

function placeOf(output: OutputSpool, from: From, { follow }: AttachRequest): Place {
  return {
    from: from === 'none' ? undefined : positionOf(output, from),
    until: follow === false ? output.end : undefined,
  };
}

function read(
  attachment: Attachment,
  type: 'Stdout' | 'Stderr',
  output: OutputSpool,
  { from, until }: Place,
): void {
  if (from !== undefined) output.addReader(attachment, type, from, until);
}
