import type { ErrorCode } from '@hawser/protocol';
import { HawserError, isErrorCode } from '@hawser/protocol';
import type { AgentPort } from '../hypervisors/hypervisor.js';
import type { KilledBy, VmEnd } from '../vm-end.js';

/**
 * What a VM's supervisor is asked over the socket in the VM's folder, which only its user can reach: one JSON object a
 * line, answered in order, and one event, the VM's end, after which the socket closes.
 */
export type ControlRequest =
  | { readonly op: 'status' }
  /** An agent has answered. */
  | { readonly op: 'activate' }
  /** The VM outlives the process that launched it. */
  | { readonly op: 'detach' }
  | { readonly op: 'kill'; readonly by: Extract<KilledBy, 'request' | 'drain_deadline'> }
  | { readonly op: 'snapshot'; readonly directory: string };

export type ControlReply =
  | { readonly ok: ControlStatus | null }
  | { readonly error: PlainError }
  | { readonly ended: VmEnd };

export interface ControlStatus {
  readonly agentPort: AgentPort;
}

/** What the supervisor tells the process that started it, once. */
export type SupervisorReport =
  | { readonly ready: { readonly directory: string } }
  | { readonly failed: PlainError };

/** A HawserError between processes. */
export interface PlainError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly errno?: string;
  readonly holder?: { readonly name: string; readonly pid: number };
}

export function toPlainError(error: unknown): PlainError {
  if (!(error instanceof HawserError)) return { code: 'internal', message: String(error) };
  const { code, message, errno, holder } = error;
  return { code, message, ...(errno !== undefined && { errno }), ...(holder !== undefined && { holder }) };
}

export function fromPlainError({ code, message, errno, holder }: PlainError): HawserError {
  return new HawserError(isErrorCode(code) ? code : 'internal', message, { errno, holder });
}
