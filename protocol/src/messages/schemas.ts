import * as v from 'valibot';
import type { LinkFrameName, MessageFrameName } from '../frames/frame-types.js';

/**
 * The shape of every link frame and message that carries a MessagePack map. Unknown fields are
 * ignored and new ones are optional: that is how a generation grows.
 *
 * Units are in the names. Text that the kernel takes as bytes (`Text`) is a string or, where it is
 * not UTF-8, a byte string.
 */

/** A whole number from 0 to 2^53-1. */
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const uint32 = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffff_ffff));
const uint16 = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffff));
const bytes = v.instance(Uint8Array as new () => Uint8Array);
const text = v.union([v.string(), bytes]);
/** 64 bits without sign: a number where one holds it exactly, else a bigint. */
const uint64 = v.union([count, v.pipe(v.bigint(), v.minValue(0n), v.maxValue(0xffff_ffff_ffff_ffffn))]);
const limitValue = v.union([uint64, v.literal('unlimited')]);
const errorName = v.string();
const stage = v.string();

const terminalSize = {
  rows: uint16,
  cols: uint16,
  xpixel: v.optional(uint16),
  ypixel: v.optional(uint16),
};

const streamCount = v.object({
  /** Bytes that the stream carried, dropped ones included. */
  bytes: count,
  /** Bytes of these that were dropped and will not come. */
  dropped: count,
});

const rlimit = v.object({ resource: v.string(), soft: limitValue, hard: limitValue });

const rusage = v.object({
  userUs: count,
  systemUs: count,
  maxRssKiB: count,
  minorFaults: count,
  majorFaults: count,
  inBlocks: count,
  outBlocks: count,
  voluntarySwitches: count,
  involuntarySwitches: count,
});

const failure = {
  code: errorName,
  message: v.string(),
  errno: v.optional(v.string()),
  stage: v.optional(stage),
};

/** Where somebody who attaches begins to read; `none` is not to be sent that output at all. */
const outputFrom = v.union([count, v.picklist(['start', 'end', 'none'])]);

const keptOutput = v.object({
  /** Position of the first byte that will come; what lies between it and `start` comes as a gap. */
  from: count,
  /** Position of the oldest byte that is kept, and that behind the newest. */
  start: count,
  end: count,
});

const confidence = v.picklist(['exact', 'best_effort']);

/** Which session's processes; on the session's own channel it may be left out. */
const treeOf = { sessionId: v.optional(v.string()) };

const treeProcess = v.object({
  pid: uint32,
  /** 0 where the agent does not see it. */
  parentPid: uint32,
  /** The program's name, at most 15 bytes. */
  name: v.string(),
  command: v.array(text),
  /** The command line is longer than what is here. */
  commandCut: v.optional(v.boolean()),
  /** The kernel's letter: R, S, D, T, t, Z and others. */
  state: v.string(),
  threads: count,
  cpuUserUs: count,
  cpuSystemUs: count,
  rssBytes: count,
  startedAtUs: count,
});

const signalTarget = v.picklist(['leader', 'group', 'foreground', 'tree']);

/** What all processes of a session use together. */
const treeStats = {
  confidence,
  /** Live ones. */
  processes: count,
  cpuUserUs: count,
  cpuSystemUs: count,
  memoryBytes: count,
  memoryPeakBytes: v.optional(count),
  oomKills: v.optional(count),
  /** How often `pidsMax` refused a process. */
  pidsRefused: v.optional(count),
};

/** `unknown`: the leader is dead, and somebody else has waited for it. */
const sessionState = v.picklist(['starting', 'running', 'exited', 'signaled', 'unknown']);

const labels = v.record(v.string(), v.string());

/** How a session's leader ended, and what it had written. */
const exitRecord = v.object({
  /** The exit code; absent where a signal ended the leader, or nobody knows how it ended. */
  code: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(255))),
  /** The signal's name, `SIGTERM`; absent where the leader exited by itself, or nobody knows. */
  signal: v.optional(v.string()),
  coreDumped: v.boolean(),
  /** The kernel killed a process of the session for want of memory, where that is counted. */
  oomKilled: v.optional(v.boolean()),
  timedOut: v.boolean(),
  /** Who of Hawser sent the signal that ended it, where one did. */
  killedBy: v.optional(v.picklist(['request', 'timeout', 'disconnect', 'shutdown'])),
  rusage,
  startedAtUs: count,
  durationUs: count,
  stdout: streamCount,
  stderr: streamCount,
  /** The counts are final: nobody holds the output any more. Else `Closed` follows. */
  outputComplete: v.boolean(),
  /** Processes of the session that outlived the leader, where that is known. */
  survivors: v.optional(count),
});

const retainedOutput = v.object({
  /** Bytes that the command has written, dropped ones included. */
  bytes: count,
  dropped: count,
  /** Position of the oldest byte that is still there; from there to `bytes` it can be read. */
  start: count,
});

/** What the registry knows of a session. */
const sessionRecord = v.object({
  sessionId: v.string(),
  /** Counts the agent's sessions: a pid may come twice, the two together do not. */
  generation: count,
  pid: uint32,
  /** The command and its arguments. */
  command: v.array(text),
  /** There is more of it than is here. */
  commandCut: v.optional(v.boolean()),
  labels,
  key: v.optional(v.string()),
  /** As the request named it; without one it is the agent's own. */
  user: v.optional(v.string()),
  uid: uint32,
  gid: uint32,
  cwd: v.optional(text),
  tty: v.boolean(),
  /** It does not end with its hosts. */
  detached: v.boolean(),
  surviveAgent: v.optional(v.boolean()),
  state: sessionState,
  /** 0 while it is starting. */
  startedAtUs: count,
  endedAtUs: v.optional(count),
  exit: v.optional(exitRecord),
  /** Hosts that are attached, observers not counted. */
  hosts: count,
  /** Bytes of stdin that the command has been given. */
  stdinBytes: count,
  stdout: retainedOutput,
  /** Absent for a terminal. */
  stderr: v.optional(retainedOutput),
  /** What its processes use now, where it has some and that was asked for. */
  stats: v.optional(v.object(treeStats)),
});

/** How far an end of a connection has received everything. */
const positions = v.object({
  /** The number of the last message. */
  received: count,
  /** Of each stream: its channel, its frame type, bytes received and consumed, the credit's limit, and 1 where it is finished. */
  streams: v.array(
    v.strictTuple([
      uint32,
      v.pipe(v.number(), v.integer(), v.minValue(0x80), v.maxValue(0xff)),
      count,
      count,
      count,
      v.picklist([0, 1]),
    ]),
  ),
});

/** The link frames whose payload is a map; the others are a header and a few bytes. */
type MapLinkFrameName = Exclude<LinkFrameName, 'Ping' | 'Pong' | 'Ack' | 'Credit'>;

export const payloadSchemas = {
  Ready: v.object({
    agentVersion: v.string(),
    generations: v.array(uint16),
    bootId: v.string(),
    /** Counts how often this agent has seen its line re-created or its clock jump: a restore shows here. */
    bootEpoch: count,
  }),
  Hello: v.object({
    generations: v.array(uint16),
    /** 16 random bytes: the connection's name. A repeat with the same key is the same connection. */
    connectionKey: v.pipe(
      bytes,
      v.check((key) => key.length === 16, 'connectionKey is 16 bytes'),
    ),
    hostVersion: v.string(),
    token: v.optional(v.string()),
    /** Credit in advance for each stream towards the host, bytes. */
    windowBytes: count,
    /** Largest payload that the host takes. */
    frameBytesMax: uint32,
    /** Asks that every frame be CHECKED. */
    checked: v.optional(v.boolean()),
    /** Microseconds since 1970, the host's clock. */
    wallClockUs: v.optional(count),
    /** Counts the host's Hellos; the `Welcome` repeats it. */
    attempt: v.optional(uint32),
    /** The connection of that key goes on, from here. */
    resume: v.optional(positions),
    /** How long the agent should keep the connection when it has no line, ms. */
    graceMs: v.optional(count),
  }),
  Welcome: v.object({
    generation: uint16,
    /** Of the `Hello` that this answers. */
    connectionKey: bytes,
    agentVersion: v.string(),
    bootId: v.string(),
    bootEpoch: count,
    /** Credit in advance for each stream towards the agent, bytes. */
    windowBytes: count,
    frameBytesMax: uint32,
    checked: v.boolean(),
    /** Largest payload that data frames to the agent should have: its line may be slower than the host's looks. */
    dataBytesMax: v.optional(uint32),
    heartbeatTimeoutMs: v.optional(count),
    sessionsMax: v.optional(count),
    features: v.array(v.string()),
    /** Of the `Hello` that this answers. */
    attempt: v.optional(uint32),
    /** The connection went on before, and goes on from here. */
    resume: v.optional(positions),
    /** How long the agent keeps the connection when it has no line, ms. */
    graceMs: v.optional(count),
  }),
  Reject: v.object({
    ...failure,
    /** Of the `Hello` that this answers, where one could be read. */
    connectionKey: v.optional(bytes),
    attempt: v.optional(uint32),
  }),
  Bye: v.object({ code: v.optional(errorName), message: v.optional(v.string()) }),

  ExecRequest: v.object({
    cmd: text,
    args: v.optional(v.array(text)),
    /** `NAME=value` each. */
    env: v.optional(v.array(text)),
    inheritEnv: v.optional(v.boolean()),
    cwd: v.optional(text),
    user: v.optional(v.string()),
    umask: v.optional(count),
    tty: v.optional(v.object(terminalSize)),
    rlimits: v.optional(v.array(rlimit)),
    nice: v.optional(v.pipe(v.number(), v.integer())),
    oomScoreAdj: v.optional(v.pipe(v.number(), v.integer())),
    noNewPrivileges: v.optional(v.boolean()),
    cgroup: v.optional(
      v.object({
        /** Bytes; beyond, processes are killed. */
        memoryMax: v.optional(uint64),
        /** Bytes; beyond, processes are slowed down. */
        memoryHigh: v.optional(uint64),
        pidsMax: v.optional(uint64),
        /** Processors, `1.5`. */
        cpuMax: v.optional(v.number()),
        /** 1 to 10000; everybody else has 100. */
        ioWeight: v.optional(uint16),
      }),
    ),
    stdin: v.optional(v.picklist(['pipe', 'null'])),
    timeoutMs: v.optional(count),
    killSignal: v.optional(v.string()),
    killGraceMs: v.optional(count),
    detached: v.optional(v.boolean()),
    /** What becomes of the command when nobody is attached any more since a connection ended. */
    onDisconnect: v.optional(
      v.object({ afterMs: v.optional(count), action: v.picklist(['terminate', 'kill', 'keep']) }),
    ),
    /** Consumed output that is kept, of each stream. */
    historyBytes: v.optional(count),
    /** What happens when there is no room for output and nobody is attached. */
    whenFull: v.optional(v.picklist(['block', 'dropOldest'])),
    labels: v.optional(labels),
    /** Its processes do not end with the agent; only for a detached one. */
    surviveAgent: v.optional(v.boolean()),
    /** The same key again is the same session, not another one. */
    key: v.optional(v.pipe(v.string(), v.minLength(1))),
  }),
  ExecStarted: v.object({
    sessionId: v.string(),
    pid: uint32,
    startedAtUs: count,
    /** The request's `key` was known: this is the session of the first request. */
    existing: v.optional(v.boolean()),
  }),
  ExecFailed: v.object(failure),
  Exited: exitRecord,
  Closed: v.object({ stdout: streamCount, stderr: streamCount }),
  StdinClosed: v.object({
    /** Bytes of stdin that the kernel took before the child's end was closed. */
    bytes: count,
    errno: v.string(),
  }),
  Attach: v.object({
    sessionId: v.string(),
    /** Takes stdin over from whoever has it. */
    stdin: v.optional(v.boolean()),
    /** Where to read from: a position, what is kept, or what comes from now on (the default). */
    stdout: v.optional(outputFrom),
    stderr: v.optional(outputFrom),
    /** Only reads, and holds nothing up: neither the command nor the end of the session wait for this host. */
    observe: v.optional(v.boolean()),
    /** False: what is there now, and then the end of each output. Only with `observe`. */
    follow: v.optional(v.boolean()),
  }),
  Attached: v.object({
    re: count,
    sessionId: v.string(),
    pid: uint32,
    startedAtUs: count,
    tty: v.boolean(),
    stdout: keptOutput,
    /** Absent for a terminal. */
    stderr: v.optional(keptOutput),
    /** Position of the next byte of stdin; absent where the session takes none of this host. */
    stdinFrom: v.optional(count),
  }),
  Detach: v.object({
    /** Position behind the last byte of stdin that this host has sent: up to there it is taken first. */
    stdinBytes: v.optional(count),
    /** It has ended its stdin there: the end is taken first, too. */
    stdinEnded: v.optional(v.boolean()),
  }),
  AddEntropy: v.object({
    /** Random, and known to nobody else: each counts as eight bits of entropy. */
    bytes: v.pipe(
      bytes,
      v.check((given) => given.length >= 1 && given.length <= 4096, '1 to 4096 bytes'),
    ),
  }),
  /** Another host writes to the command now. */
  StdinTaken: v.object({
    /** Bytes of this host's stdin that the command gets. */
    bytes: count,
  }),
  Resize: v.object(terminalSize),
  Signal: v.object({
    /** On channel 0: whose. */
    sessionId: v.optional(v.string()),
    signal: v.string(),
    target: v.optional(signalTarget),
  }),
  Rlimits: v.object({ set: v.optional(v.array(rlimit)) }),
  RlimitsReply: v.object({ re: count, rlimits: v.array(rlimit) }),
  Members: v.object(treeOf),
  MembersReply: v.object({
    re: count,
    confidence,
    processes: v.array(treeProcess),
    /** Further processes, for which the message had no room. */
    omitted: v.optional(count),
  }),
  KillTree: v.object(treeOf),
  KillOne: v.object({ ...treeOf, pid: uint32, signal: v.optional(v.string()) }),
  Freeze: v.object(treeOf),
  Thaw: v.object(treeOf),
  Stats: v.object(treeOf),
  StatsReply: v.object({ re: count, ...treeStats }),
  List: v.object({
    /** Only sessions that have all of these. */
    labels: v.optional(labels),
    /** Only sessions in one of these. */
    states: v.optional(v.array(sessionState)),
    /** Only sessions of a higher generation: `next` of the page before. */
    after: v.optional(count),
    /** Sessions in one reply, at most; fewer come where a frame holds no more. */
    limit: v.optional(v.pipe(count, v.minValue(1))),
    /** With what each one's processes use now. */
    stats: v.optional(v.boolean()),
  }),
  ListReply: v.object({
    re: count,
    /** The oldest first. */
    sessions: v.array(sessionRecord),
    /** There are more, after this generation. */
    next: v.optional(count),
  }),
  Inspect: v.object({ sessionId: v.string() }),
  InspectReply: v.object({ re: count, session: sessionRecord }),
  Wait: v.object({
    sessionId: v.string(),
    /** Without it, as long as it takes. */
    timeoutMs: v.optional(count),
  }),
  /** The leader is dead. */
  WaitReply: v.object({ re: count, session: sessionRecord }),
  Remove: v.object({ sessionId: v.string() }),
  AllStats: v.object({
    sessionId: v.optional(v.string()),
    labels: v.optional(labels),
    /** A reply each time, until `StopStats`; without it, one. */
    intervalMs: v.optional(count),
  }),
  AllStatsReply: v.object({
    /** Of the one request, for each reply of a series. */
    re: count,
    /** By the guest's clock. */
    atUs: count,
    /** Of every session that has processes, the oldest first. */
    sessions: v.array(v.object({ sessionId: v.string(), ...treeStats })),
    /** Further sessions, for which the message had no room. */
    omitted: v.optional(count),
  }),
  /** Ends the series that the message of that number began. */
  StopStats: v.object({ series: count }),
  Info: v.object({}),
  InfoReply: v.object({
    re: count,
    agentVersion: v.string(),
    pid: uint32,
    uptimeMs: count,
    sessionsRunning: count,
    sessionsMax: count,
    sessionsStarted: count,
    launchesPending: count,
    spoolBytes: count,
    spoolBudgetBytes: count,
    lines: v.array(
      v.object({
        name: v.string(),
        kind: v.string(),
        bytesIn: count,
        bytesOut: count,
        framesIn: count,
        framesOut: count,
        skippedBytes: count,
        skips: count,
      }),
    ),
    system: v.object({ hostname: v.string(), release: v.string(), arch: v.string(), node: v.string() }),
  }),
  Done: v.object({ re: count }),
  Failure: v.object({ re: v.optional(count), ...failure }),

  Shutdown: v.object({
    mode: v.picklist(['poweroff', 'reboot', 'halt']),
    /** What each session's own grace is cut to. */
    graceMs: v.optional(count),
  }),
} as const satisfies Record<MessageFrameName | MapLinkFrameName, v.GenericSchema>;

export type PayloadName = keyof typeof payloadSchemas;
export type Payload<N extends PayloadName> = v.InferOutput<(typeof payloadSchemas)[N]>;

export type Text = string | Uint8Array;
export type ExecRequest = Payload<'ExecRequest'>;
export type ExitRecord = Payload<'Exited'>;
export type SignalTarget = v.InferOutput<typeof signalTarget>;
export type Rlimit = v.InferOutput<typeof rlimit>;
export type StreamCount = v.InferOutput<typeof streamCount>;
export type TerminalSize = Payload<'Resize'>;
export type SessionRecord = v.InferOutput<typeof sessionRecord>;
export type SessionStateName = v.InferOutput<typeof sessionState>;
