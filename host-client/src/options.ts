import type { Readable } from 'node:stream';
import type { SignalTarget, TerminalSize } from '@hawser/protocol';

/** The sixteen resource limits of Linux, as getrlimit(2) has them, in lower case. */
export type RlimitName =
  | 'as'
  | 'core'
  | 'cpu'
  | 'data'
  | 'fsize'
  | 'locks'
  | 'memlock'
  | 'msgqueue'
  | 'nice'
  | 'nofile'
  | 'nproc'
  | 'rss'
  | 'rtprio'
  | 'rttime'
  | 'sigpending'
  | 'stack';

/** In the unit of getrlimit(2): bytes, seconds, microseconds or a number. */
export type RlimitValue = number | bigint | 'unlimited';

/** One value sets both. */
export type RlimitSetting = RlimitValue | { readonly soft: RlimitValue; readonly hard: RlimitValue };

export type RlimitSettings = { readonly [K in RlimitName]?: RlimitSetting };
export type RlimitTable = { [K in RlimitName]: { soft: bigint | 'unlimited'; hard: bigint | 'unlimited' } };

/** Limits of a cgroup v2, for all processes of a session together. */
export interface CgroupLimits {
  /** Bytes; beyond, the kernel kills one of them (`oomKilled` of the exit record). */
  readonly memoryMax?: number | bigint;
  /** Bytes; beyond, the kernel slows them down. */
  readonly memoryHigh?: number | bigint;
  /** Processes and threads; beyond, fork fails with EAGAIN. */
  readonly pidsMax?: number | bigint;
  /** Processors, e.g. 1.5. */
  readonly cpuMax?: number;
  /** Share of a busy disk, from 1 to 10000, against 100 for everybody else. */
  readonly ioWeight?: number;
}

/** What every way of running a command takes. Everything is optional. */
export interface CommandOptions {
  /** Variables of the command. A value may be bytes where it is not UTF-8. */
  readonly env?: Readonly<Record<string, string | Uint8Array | undefined>>;
  /** Starts from the agent's own environment instead of from PATH, HOME, USER, LOGNAME, SHELL (and TERM in a terminal). */
  readonly inheritEnv?: boolean;
  /** Default: the agent's own, `/` in a guest. */
  readonly cwd?: string | Uint8Array;
  /** `name`, `uid`, `name:group` or `uid:gid`, looked up in the guest's own files. */
  readonly user?: string;
  /** Default 0o022. */
  readonly umask?: number;
  readonly rlimits?: RlimitSettings;
  /** Limits for all processes of the session together. Each needs its cgroup v2 controller in the guest, or is refused (`unsupported`). */
  readonly cgroup?: CgroupLimits;
  readonly nice?: number;
  readonly oomScoreAdj?: number;
  readonly noNewPrivileges?: boolean;
  /** After so long the command is ended with `killSignal`, and after `killGraceMs` more with SIGKILL. */
  readonly timeoutMs?: number;
  /** Default SIGTERM. */
  readonly killSignal?: string;
  /** Default 5000. */
  readonly killGraceMs?: number;
  readonly labels?: Readonly<Record<string, string>>;
  /**
   * Names the command: the same key again finds the session of the first request, running or ended, instead
   * of running it twice. For a retry when it is not known whether the first one arrived. Unique to the agent.
   */
  readonly key?: string;
  /** It is its own: it outlives this connection, and is kept for `Agent.attach` when it has ended. */
  readonly detached?: boolean;
  /** Its processes go on when the agent ends, or is killed, and are nobody's then. Only for a detached one. Default false. */
  readonly surviveAgent?: boolean;
  /**
   * What becomes of it when nobody is attached any more because a connection ended, and after how long.
   * Default: `terminate` at once, with `killSignal`; `keep` for a detached one.
   */
  readonly onDisconnect?: { readonly afterMs?: number; readonly action: 'terminate' | 'kill' | 'keep' };
  /** Output that was read and is kept for whoever attaches later, bytes of each. Default: 0, 1 MiB when detached. */
  readonly historyBytes?: number;
  /**
   * With no room for output and nobody attached, the command waits, or the oldest bytes are dropped, which
   * whoever attaches is told. Default: `block`, `dropOldest` when detached.
   */
  readonly whenFull?: 'block' | 'dropOldest';
  /** Ends the command with SIGKILL, and the call with `aborted`. A launch that hangs is cancelled too. */
  readonly signal?: AbortSignal;
}

export interface SpawnOptions extends CommandOptions {
  /** A pseudo-terminal instead of pipes; `true` is 24 rows of 80 columns. */
  readonly tty?: boolean | Partial<TerminalSize>;
  /** `null`: the command reads an immediate end. Default `pipe`. */
  readonly stdin?: 'pipe' | 'null';
}

export interface ExecOptions extends CommandOptions {
  /** A pseudo-terminal instead of pipes: everything comes as `stdout`. */
  readonly tty?: boolean | Partial<TerminalSize>;
  /** What the command reads; without it, an immediate end. */
  readonly input?: string | Uint8Array | Readable;
  /** `utf8` (default) gives strings, `buffer` gives Buffers. */
  readonly encoding?: 'utf8' | 'buffer';
  /** Most bytes of stdout, and of stderr, that are collected; beyond, the command is killed and the call fails with `max_buffer`. Default 64 MiB. */
  readonly maxBufferBytes?: number;
}

export interface AttachOptions {
  /** Writes to its stdin from now on; whoever did before is told (`stdin_taken`). Default false. */
  readonly stdin?: boolean;
  /**
   * Where to read from: what is kept, what comes from now on (default), or positions in bytes of each output, as
   * of a process that has read so much and was killed. What is not kept any more is told by the event `gap`. `none` is
   * not to read: the outputs end at once, and the command is not held up by this host.
   */
  readonly from?: 'start' | 'end' | 'none' | { readonly stdout: number; readonly stderr?: number };
}

export interface SignalOptions {
  /** Default `group`: the leader's process group. */
  readonly target?: SignalTarget;
}

export interface ConnectOptions {
  /** Shown to an agent that was given one. */
  readonly token?: string;
  /** Default 30000. */
  readonly handshakeTimeoutMs?: number;
  /** Credit for each stream towards the host, bytes. Default 1 MiB. */
  readonly windowBytes?: number;
  readonly heartbeatIntervalMs?: number;
  readonly heartbeatTimeoutMs?: number;
  /** How long the agent keeps the connection when its line was lost, ms; at most its own limit, the default. */
  readonly graceMs?: number;
  /** How long a lost line is tried to be opened again, ms; 0: the connection ends with its line. Default: as the agent keeps it. */
  readonly reconnectMs?: number;
  /** Checksums over every byte, also on a line that should not need them. */
  readonly checked?: boolean;
  /** False: opens the line itself, also where a relay shares it. Default true. */
  readonly relay?: boolean;
  /** Ends the attempt to connect. */
  readonly signal?: AbortSignal;
}

export interface ShutdownOptions {
  /** Default: `poweroff`. */
  readonly mode?: 'poweroff' | 'reboot' | 'halt';
  /** What each session's own grace is cut to, ms. Default: it is not. */
  readonly graceMs?: number;
}
