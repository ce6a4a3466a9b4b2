export type {
  ErrorCode,
  ExitRecord,
  LaunchStage,
  SignalTarget,
  StreamCount,
  TerminalSize,
} from '@hawser/protocol';
export { errorCodes, HawserError } from '@hawser/protocol';
export type { AgentInfo, AgentWelcome } from './agent.js';
export { Agent } from './agent.js';
export { connect } from './connect.js';
export type { LinkState } from './link.js';
export type {
  AttachOptions,
  CgroupLimits,
  CommandOptions,
  ConnectOptions,
  ExecOptions,
  RlimitName,
  RlimitSetting,
  RlimitSettings,
  RlimitTable,
  RlimitValue,
  ShutdownOptions,
  SignalOptions,
  SpawnOptions,
} from './options.js';
export type { ExitResult } from './sessions/command.js';
export type { ExecResult } from './sessions/exec.js';
export type { SessionMembers, SessionProcess, SessionStats } from './sessions/process-tree.js';
export type { Session } from './sessions/session.js';
