export { bulkBuffer } from './bulk-buffer.js';
export type { AgentGreetingOptions, AgentIdentity } from './connection/agent-greeting.js';
export { AgentGreeting } from './connection/agent-greeting.js';
export { Channel } from './connection/channel.js';
export type { Clock } from './connection/clock.js';
export { systemClock } from './connection/clock.js';
export type {
  Agreement,
  ChannelHandler,
  ConnectionHandler,
  ConnectionNotice,
  ConnectionOptions,
  Message,
} from './connection/connection.js';
export { Connection } from './connection/connection.js';
export { generations } from './connection/generations.js';
export type { HelloAttempts, HostGreetingOptions } from './connection/host-greeting.js';
export { fillerBytes, fillersUnheard, HostGreeting, hellosOnSoundLine } from './connection/host-greeting.js';
export type { PortClient, PortCounters, PortHandler } from './connection/port.js';
export { Port } from './connection/port.js';
export type { Positions } from './connection/positions.js';
export type { StreamSink } from './connection/receive-stream.js';
export { ReceiveStream } from './connection/receive-stream.js';
export { SendStream } from './connection/send-stream.js';
export type { ErrorCode, HawserErrorFields, LaunchStage } from './errors.js';
export { errorCodes, HawserError, isErrorCode, launchStages } from './errors.js';
export type { FrameSink, SkipReason } from './frames/decoder.js';
export { FrameDecoder } from './frames/decoder.js';
export type {
  DataFrameName,
  FrameClass,
  FrameTypeName,
  LinkFrameName,
  MessageFrameName,
} from './frames/frame-types.js';
export { frameTypeName, frameTypes } from './frames/frame-types.js';
export type { Frame } from './frames/header.js';
export { encodeFrame, frameFlags, headerBytes, writeHeader } from './frames/header.js';
export type { Limits } from './limits.js';
export { defaultLimits } from './limits.js';
export type { Line, LineHandler, LineKind } from './line.js';
export { MessageCodec } from './messages/codec.js';
export type {
  ExecRequest,
  ExitRecord,
  Payload,
  PayloadName,
  Rlimit,
  SessionRecord,
  SessionStateName,
  SignalTarget,
  StreamCount,
  TerminalSize,
  Text,
} from './messages/schemas.js';
export { payloadSchemas } from './messages/schemas.js';
export { Spool, SpoolBudget } from './spool.js';
