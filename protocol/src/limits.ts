/**
 * Every limit of the wire and of a connection: name, default and unit. What an agent or a host sets
 * otherwise is agreed at the handshake where the other end must know it.
 */
export const defaultLimits = {
  /** Largest payload of one frame, bytes. A request that does not fit is refused before it is sent. */
  frameBytesMax: 4 * 1024 * 1024,
  /**
   * Largest payload before the handshake is done: nobody has said who they are. A `Hello` that resumes
   * a connection tells the position of each of its streams, in about 20 bytes.
   */
  greetingBytesMax: 512 * 1024,
  /** Credit that the host gives each stream in advance, bytes. */
  windowBytes: 1024 * 1024,
  /** Credit that the agent gives each stdin in advance, bytes; a child that reads quickly gets more, up to `windowBytes`. */
  stdinWindowBytes: 32 * 1024,
  /** Messages that may wait for the other side's acknowledgement. */
  unackedMessagesMax: 16_384,
  /** Bytes of messages that may wait for acknowledgement. */
  unackedBytesMax: 16 * 1024 * 1024,
  /** Channels that one connection may have open. */
  channelsMax: 8_192,
  /** Virtual connections that one line may carry: as many local clients as a relay may have, and itself. */
  lanesMax: 256,
  /** Longest string or byte string inside a message, bytes. */
  messageStringBytesMax: 4 * 1024 * 1024,
  /** Most elements of a list inside a message. */
  messageListMax: 262_144,
  /** Most entries of a map inside a message. */
  messageMapMax: 4_096,
  /** Most values in one message, those of nested lists and maps (and its keys) included. */
  messageValuesMax: 524_288,
  /** Deepest nesting of lists and maps inside a message. */
  messageDepthMax: 8,
  /** Acknowledgements and credit that nothing waits for are sent with the next frame, or after this. */
  ackDelayMs: 25,
  /** After so many messages an acknowledgement is sent at once. */
  ackMessagesMax: 64,
  /** A peer that has been silent for this long is sent a `Ping`. */
  heartbeatIntervalMs: 5_000,
  /** A peer that has been silent for this long is gone, as far as this line goes. */
  heartbeatTimeoutMs: 20_000,
  /** On a line that may lose something, overdue answers are asked for after this. */
  probeIntervalMs: 500,
  /** Skipped bytes make the ends greet each other again so often at most; a proven loss does at once. */
  doubtIntervalMs: 200,
  /**
   * How long an agent keeps a connection that has no line, unless the host asks for less. Longer than
   * `heartbeatTimeoutMs` and `handshakeTimeoutMs` together: a host that was not told that its line is gone finds
   * out by its heartbeat, and may try one that leads nowhere before it comes back.
   */
  resumeGraceMs: 60_000,
  /** How long the host offers its `Hello` before it gives up. */
  handshakeTimeoutMs: 30_000,
  /** First and longest interval between two `Hello`s of one host. */
  helloIntervalMs: 200,
  helloIntervalMaxMs: 3_000,
  /** First interval of those that resume a connection on a line that may lose something: a slow line is full then. */
  helloAgainIntervalMs: 1_000,
  /** Memory of one output stream's spool, bytes. */
  spoolBytesMax: 1024 * 1024,
  /** Most history that a session may ask for, of each output, bytes. */
  historyBytesMax: 4 * 1024 * 1024,
  /** Connections without a line that an agent keeps, all clients of a relay that died; beyond, the oldest is ended. */
  suspendedConnectionsMax: 256,
  /** Sessions that have ended and are kept for whoever attaches later, and for how long. */
  keptSessionsMax: 256,
  keptSessionMs: 600_000,
  /** What a relay keeps for one client that does not take it, and for all of them, bytes; beyond, a client is cut off. */
  relayClientBytesMax: 16 * 1024 * 1024,
  relayBytesMax: 128 * 1024 * 1024,
  /** What a relay takes from one client before the line does, bytes; the client waits then. */
  relayQueueBytesMax: 4 * 1024 * 1024,
  /** Memory of all spools of one process together, bytes. */
  spoolBudgetBytes: 16 * 1024 * 1024,
} as const;

export type Limits = { readonly [K in keyof typeof defaultLimits]: number };

/** The smallest ring that a spool takes; granted even when the budget is spent, so that every stream moves. */
export const spoolBytesMin = 4 * 1024;

/** The least that a peer may offer as its `frameBytesMax`: every answer fits. */
export const frameBytesMin = 4 * 1024;
