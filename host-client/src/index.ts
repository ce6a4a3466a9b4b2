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
export type { OutputFrom, OutputOptions, OutputPosition, SessionOutput } from './sessions/session-output.js';
export type {
  ListSessionsOptions,
  RetainedOutput,
  SessionInfo,
  SessionRegistry,
  SessionStateText,
  StatsOptions,
  WaitOptions,
} from './sessions/session-registry.js';
export type { StatsSample } from './sessions/stats-series.js';
export type { VmConsole } from './vm/console.js';
export type { VmRoot } from './vm/image-directory.js';
export type { RestoreVmOptions } from './vm/launch-vm.js';
export { launchVm, restoreVm } from './vm/launch-vm.js';
export type { VmState } from './vm/registry/vm-record.js';
export type { DrainOptions, RunningVm } from './vm/running-vm.js';
export type { ListVmsOptions, VmInfo } from './vm/running-vms.js';
export { listVms, openVm } from './vm/running-vms.js';
export type { Vm } from './vm/vm.js';
export type { KilledBy, VmEnd } from './vm/vm-end.js';
export type { HypervisorName, LaunchStep, LaunchVmOptions, VmDisk, VmLine } from './vm/vm-options.js';
