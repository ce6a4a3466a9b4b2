import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { HawserError } from '@hawser/protocol';
import type { VmPlan } from '../vm-plan.js';
import type { PlainError, SupervisorReport } from './control-protocol.js';
import { fromPlainError } from './control-protocol.js';
import { JsonLines } from './json-lines.js';

const stderrTailCharacters = 2048;

/**
 * This process's end of the pipe to a VM's supervisor: while it is open, the owner lives. Nothing closes it but `close`
 * and the end of this process.
 */
export class Watchdog {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /**
   * Starts a supervisor.
   *
   * @returns the watchdog, and the VM's folder when the hypervisor runs
   */
  static start(plan: VmPlan): { readonly watchdog: Watchdog; readonly directory: Promise<string> } {
    const child = spawn(process.execPath, program(), {
      // A session of its own: a terminal's Ctrl-C is not for the VM.
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const directory = firstReport(child);
    child.stdin?.on('error', () => undefined); // it ended before it read the plan: its exit says more
    child.stdin?.write(`${JSON.stringify(plan)}\n`);
    return { watchdog: new Watchdog(child), directory };
  }

  /** The VM ends, unless it was detached. */
  close(): void {
    this.#child.stdin?.destroy();
  }
}

function firstReport(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let stderr = '';
    let reported = false;
    const settle = (): void => {
      reported = true;
      child.stdout?.destroy();
      child.stderr?.destroy();
      // From now on the supervisor does not keep this process alive.
      child.unref();
      (child.stdin as unknown as { unref(): void } | null)?.unref();
    };
    const lines = new JsonLines((value) => {
      const report = value as SupervisorReport;
      settle();
      if ('ready' in report) resolve(report.ready.directory);
      else reject(fromPlainError(report.failed satisfies PlainError));
    });
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => lines.push(chunk));
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      stderr = (stderr + chunk).slice(-stderrTailCharacters);
    });
    child.on('error', (cause) => {
      settle();
      reject(
        new HawserError('vm_launch_failed', `the supervisor of the VM cannot be started: ${cause.message}`, {
          cause,
        }),
      );
    });
    child.on('close', (code, signal) => {
      if (reported) return;
      settle();
      reject(
        new HawserError(
          'vm_launch_failed',
          `the supervisor of the VM ended (${code ?? signal}): ${stderr.trim()}`,
        ),
      );
    });
  });
}

/** The supervisor's program and Node's flags for it: built, or in this repository's tests a source. */
function program(): string[] {
  const beside = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
  if (!import.meta.url.endsWith('.ts')) return [beside('./supervisor-main.js')];
  const loader = new URL('../../../../tooling/typescript.mjs', import.meta.url).href;
  return ['--import', loader, '--conditions=@hawser/source', beside('./supervisor-main.ts')];
}
