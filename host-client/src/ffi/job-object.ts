import { HawserError } from '@hawser/protocol';
import { loadKoffi } from './koffi.js';

/** A HANDLE; 0 is none. */
export type Handle = bigint;

/**
 * What of kernel32 job objects need. A handle is a number here, a function that fails gives 0, and
 * `lastError` says why.
 */
export interface JobKernel {
  lastError(): number;
  createJobObject(): Handle;
  /** @param information a JOBOBJECT_EXTENDED_LIMIT_INFORMATION */
  setInformation(job: Handle, informationClass: number, information: Uint8Array): number;
  queryInformation(job: Handle, informationClass: number, information: Uint8Array): number;
  currentProcess(): Handle;
  openProcess(access: number, inherit: number, pid: number): Handle;
  assignProcess(job: Handle, child: Handle): number;
  terminateJob(job: Handle, exitCode: number): number;
  closeHandle(handle: Handle): number;
}

const basicAccounting = 1; // JobObjectBasicAccountingInformation
const extendedLimits = 9; // JobObjectExtendedLimitInformation
const killOnJobClose = 0x2000; // JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
/** sizeof(JOBOBJECT_EXTENDED_LIMIT_INFORMATION) on 64-bit Windows; LimitFlags are 16 bytes in. */
const extendedLimitBytes = 144;
const limitFlagsAt = 16;
/** sizeof(JOBOBJECT_BASIC_ACCOUNTING_INFORMATION); four times, then page faults, total, active, terminated. */
const accountingBytes = 48;
const activeProcessesAt = 40;
const processTerminate = 0x0001;
const processSetQuota = 0x0100;

/**
 * A Windows job object whose processes the kernel kills when its last handle is closed, also by the
 * death of the process that held it. It owns its handle until `close`.
 *
 * Members are never listed, only counted and terminated as a whole: a list of them
 * (JobObjectBasicProcessIdList) has to be sized in advance, which is where others lose those beyond 256.
 */
export class JobObject {
  readonly #kernel: JobKernel;
  #handle: Handle;

  private constructor(kernel: JobKernel, handle: Handle) {
    this.#kernel = kernel;
    this.#handle = handle;
  }

  static create(kernel: JobKernel): JobObject {
    const handle = kernel.createJobObject();
    if (handle === 0n) throw failed(kernel, 'CreateJobObjectW');
    const limits = new Uint8Array(extendedLimitBytes);
    new DataView(limits.buffer).setUint32(limitFlagsAt, killOnJobClose, true);
    if (kernel.setInformation(handle, extendedLimits, limits) === 0) {
      const error = failed(kernel, 'SetInformationJobObject');
      kernel.closeHandle(handle);
      throw error;
    }
    return new JobObject(kernel, handle);
  }

  /** Puts this process itself in: children are then born in the job, and there is no moment in which they are not. */
  assignSelf(): void {
    // A pseudo handle: it is not to be closed.
    this.#assign(this.#kernel.currentProcess());
  }

  /** @throws HawserError `system_call_failed`, errno `87` (ERROR_INVALID_PARAMETER) for one that has ended. */
  assign(pid: number): void {
    const child = this.#kernel.openProcess(processTerminate | processSetQuota, 0, pid);
    if (child === 0n) throw failed(this.#kernel, `OpenProcess(${pid})`);
    try {
      this.#assign(child);
    } finally {
      this.#kernel.closeHandle(child);
    }
  }

  /** How many processes live in it. */
  get activeProcesses(): number {
    const accounting = new Uint8Array(accountingBytes);
    if (this.#kernel.queryInformation(this.#handle, basicAccounting, accounting) === 0)
      throw failed(this.#kernel, 'QueryInformationJobObject');
    return new DataView(accounting.buffer).getUint32(activeProcessesAt, true);
  }

  /** Ends every process in it. */
  terminate(): void {
    if (this.#kernel.terminateJob(this.#handle, 1) === 0) throw failed(this.#kernel, 'TerminateJobObject');
  }

  /** Whoever is still in it is killed by the kernel. Idempotent. */
  close(): void {
    if (this.#handle === 0n) return;
    this.#kernel.closeHandle(this.#handle);
    this.#handle = 0n;
  }

  #assign(child: Handle): void {
    if (this.#kernel.assignProcess(this.#handle, child) === 0)
      throw failed(this.#kernel, 'AssignProcessToJobObject');
  }
}

function failed(kernel: JobKernel, call: string): HawserError {
  const error = kernel.lastError();
  return new HawserError('system_call_failed', `${call} failed with Windows error ${error}`, {
    errno: String(error),
  });
}

/** The real one. Only on Windows. */
export function kernel32(): JobKernel {
  const ffi = loadKoffi('job objects need');
  const library = ffi.load('kernel32.dll');
  // A HANDLE fits an integer of a pointer's size, and as one it can be compared and printed.
  const func = (declaration: string) => library.func(declaration);
  const create = func('intptr_t __stdcall CreateJobObjectW(void *attributes, void *name)');
  const set = func(
    'int __stdcall SetInformationJobObject(intptr_t job, int kind, void *information, uint32_t bytes)',
  );
  const query = func(
    'int __stdcall QueryInformationJobObject(intptr_t job, int kind, void *information, uint32_t bytes, void *out)',
  );
  const current = func('intptr_t __stdcall GetCurrentProcess()');
  const open = func('intptr_t __stdcall OpenProcess(uint32_t access, int inherit, uint32_t pid)');
  const assign = func('int __stdcall AssignProcessToJobObject(intptr_t job, intptr_t child)');
  const terminate = func('int __stdcall TerminateJobObject(intptr_t job, uint32_t exitCode)');
  const close = func('int __stdcall CloseHandle(intptr_t handle)');
  const lastError = func('uint32_t __stdcall GetLastError()');
  return {
    lastError: () => lastError() as number,
    createJobObject: () => BigInt(create(null, null) as number | bigint),
    setInformation: (job, kind, information) => set(job, kind, information, information.length) as number,
    queryInformation: (job, kind, information) =>
      query(job, kind, information, information.length, null) as number,
    currentProcess: () => BigInt(current() as number | bigint),
    openProcess: (access, inherit, pid) => BigInt(open(access, inherit, pid) as number | bigint),
    assignProcess: (job, child) => assign(job, child) as number,
    terminateJob: (job, exitCode) => terminate(job, exitCode) as number,
    closeHandle: (handle) => close(handle) as number,
  };
}
