// The process of one VM. Its stdin is the watchdog: the first line is the plan, and its end is the owner's end.
import type { VmPlan } from '../vm-plan.js';
import type { SupervisorReport } from './control-protocol.js';
import { toPlainError } from './control-protocol.js';
import { JsonLines } from './json-lines.js';
import { Supervisor } from './supervisor.js';

/** In a session of its own; what is left to come by are signals meant for it, of which SIGTERM is one. */
for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined);
// The owner may be gone before we are: nobody reads then.
for (const output of [process.stdout, process.stderr]) output.on('error', () => undefined);

let supervisor: Supervisor | undefined;
let ownerGone = false;

const lines = new JsonLines((value) => void run(value as VmPlan));
process.stdin.setEncoding('utf8').on('data', (chunk: string) => lines.push(chunk));
for (const event of ['end', 'error'] as const) {
  process.stdin.on(event, () => {
    ownerGone = true;
    if (supervisor === undefined || !supervisor.detached) void supervisor?.kill('owner_gone');
  });
}
process.on('SIGTERM', () => void supervisor?.kill('supervisor_stopped'));

async function run(plan: VmPlan): Promise<void> {
  try {
    supervisor = new Supervisor(plan);
    await supervisor.start();
  } catch (error) {
    await report({ failed: toPlainError(error) });
    process.exit(1);
  }
  if (ownerGone) void supervisor.kill('owner_gone');
  process.chdir('/'); // holds no file system that somebody may want to unmount
  await report({ ready: { directory: supervisor.directory } });
  await supervisor.finished;
  process.exit(0);
}

function report(value: SupervisorReport): Promise<void> {
  return new Promise((resolve) => process.stdout.write(`${JSON.stringify(value)}\n`, () => resolve()));
}
