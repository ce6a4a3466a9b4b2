import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { within } from './deadline.mjs';

/** The processes and the directory of one run: what it starts is ended with it, whichever way it goes. */
export class Owner {
  #children = new Set();
  #nextName = 1;

  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), 'hawser-bench-'));
    process.once('exit', () => this.#endNow());
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
      process.once(signal, () => process.exit(128 + constants.signals[signal]));
    }
  }

  /** A name in the run's directory that nothing has yet. */
  path(kind) {
    return join(this.directory, `${kind}-${this.#nextName++}`);
  }

  start(command, args, options = {}) {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], ...options });
    this.#children.add(child);
    child.once('close', () => this.#children.delete(child));
    child.once('error', () => this.#children.delete(child));
    return child;
  }

  /** Ends one child: asks first, so that it ends what it started (and writes its profile), then does not ask. */
  async end(child, { ask = () => child.kill('SIGTERM'), timeoutMs = 5_000 } = {}) {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, 'exit');
    ask();
    try {
      await within(closed, timeoutMs, `the end of process ${child.pid} (${child.spawnfile})`);
    } catch (error) {
      console.error(`${error.message}: killed`);
      killTree(child.pid);
      await closed;
    }
  }

  #endNow() {
    for (const child of this.#children) if (child.pid !== undefined) killTree(child.pid);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Kills a process that we started and its present descendants, parents first so that none is replaced. */
export function killTree(pid) {
  const childrenOf = childrenByParent();
  const doomed = [pid];
  for (const parent of doomed) doomed.push(...(childrenOf.get(parent) ?? []));
  for (const one of doomed) {
    try {
      process.kill(one, 'SIGKILL');
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
  }
}

function childrenByParent() {
  const childrenOf = new Map();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const parent = parentOf(entry);
    if (parent === undefined) continue;
    childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), Number(entry)]);
  }
  return childrenOf;
}

function parentOf(pid) {
  try {
    // The command's name may hold spaces and parentheses: the fields begin after the last one.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined; // it ended while we looked
  }
}
