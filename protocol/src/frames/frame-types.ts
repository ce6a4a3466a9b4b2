/**
 * Every frame type: its number on the wire, its class, and the generation that introduced it.
 *
 * - `link` frames belong to the line: not numbered, not repeated.
 * - `message` frames are numbered per direction, acknowledged, and hold one MessagePack map.
 * - `data` frames hold raw bytes at an absolute offset of a stream.
 *
 * A number is never used again for something else; `protocol/schema/` holds what was published.
 */
export const frameTypes = {
  Ready: { id: 0x01, class: 'link', since: 1 },
  Hello: { id: 0x02, class: 'link', since: 1 },
  Welcome: { id: 0x03, class: 'link', since: 1 },
  Reject: { id: 0x04, class: 'link', since: 1 },
  Ping: { id: 0x05, class: 'link', since: 1 },
  Pong: { id: 0x06, class: 'link', since: 1 },
  Ack: { id: 0x07, class: 'link', since: 1 },
  Credit: { id: 0x08, class: 'link', since: 1 },
  Bye: { id: 0x09, class: 'link', since: 1 },

  ExecRequest: { id: 0x20, class: 'message', since: 1 },
  ExecStarted: { id: 0x21, class: 'message', since: 1 },
  ExecFailed: { id: 0x22, class: 'message', since: 1 },
  Exited: { id: 0x23, class: 'message', since: 1 },
  Closed: { id: 0x24, class: 'message', since: 1 },
  StdinClosed: { id: 0x25, class: 'message', since: 1 },
  Resize: { id: 0x26, class: 'message', since: 1 },
  Signal: { id: 0x27, class: 'message', since: 1 },
  Rlimits: { id: 0x28, class: 'message', since: 1 },
  RlimitsReply: { id: 0x29, class: 'message', since: 1 },
  Info: { id: 0x2a, class: 'message', since: 1 },
  InfoReply: { id: 0x2b, class: 'message', since: 1 },
  Done: { id: 0x2c, class: 'message', since: 1 },
  Failure: { id: 0x2d, class: 'message', since: 1 },
  Attach: { id: 0x2e, class: 'message', since: 1 },
  Attached: { id: 0x2f, class: 'message', since: 1 },
  Detach: { id: 0x30, class: 'message', since: 1 },
  StdinTaken: { id: 0x31, class: 'message', since: 1 },
  AddEntropy: { id: 0x32, class: 'message', since: 1 },

  Shutdown: { id: 0x40, class: 'message', since: 1 },
  Members: { id: 0x50, class: 'message', since: 1 },
  MembersReply: { id: 0x51, class: 'message', since: 1 },
  KillTree: { id: 0x52, class: 'message', since: 1 },
  KillOne: { id: 0x53, class: 'message', since: 1 },
  Freeze: { id: 0x54, class: 'message', since: 1 },
  Thaw: { id: 0x55, class: 'message', since: 1 },
  Stats: { id: 0x56, class: 'message', since: 1 },
  StatsReply: { id: 0x57, class: 'message', since: 1 },
  List: { id: 0x58, class: 'message', since: 1 },
  ListReply: { id: 0x59, class: 'message', since: 1 },
  Inspect: { id: 0x5a, class: 'message', since: 1 },
  InspectReply: { id: 0x5b, class: 'message', since: 1 },
  Wait: { id: 0x5c, class: 'message', since: 1 },
  WaitReply: { id: 0x5d, class: 'message', since: 1 },
  Remove: { id: 0x5e, class: 'message', since: 1 },
  AllStats: { id: 0x5f, class: 'message', since: 1 },
  AllStatsReply: { id: 0x60, class: 'message', since: 1 },
  StopStats: { id: 0x61, class: 'message', since: 1 },

  Stdin: { id: 0x80, class: 'data', since: 1 },
  Stdout: { id: 0x81, class: 'data', since: 1 },
  Stderr: { id: 0x82, class: 'data', since: 1 },
  Data: { id: 0x83, class: 'data', since: 1 },
} as const;

export type FrameTypeName = keyof typeof frameTypes;
export type FrameClass = 'link' | 'message' | 'data';

type NamesOf<C extends FrameClass> = {
  [K in FrameTypeName]: (typeof frameTypes)[K]['class'] extends C ? K : never;
}[FrameTypeName];

export type LinkFrameName = NamesOf<'link'>;
export type MessageFrameName = NamesOf<'message'>;
export type DataFrameName = NamesOf<'data'>;

const nameById: (FrameTypeName | undefined)[] = [];
for (const name of Object.keys(frameTypes) as FrameTypeName[]) nameById[frameTypes[name].id] = name;

/** The type's name, or `undefined` for a number of a later generation (or of nobody). */
export function frameTypeName(id: number): FrameTypeName | undefined {
  return nameById[id];
}
