import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { until } from './deadline.mjs';

const program = fileURLToPath(new URL('../../agentd/dist/hawser-agentd.cjs', import.meta.url));
/** Those of its own first line, bin/hawser-agentd.js. */
const nodeFlags = createRequire(import.meta.url)('../../agentd/node-flags.json');

/** More than the thousand idle sessions of the memory figures; everything else is as the agent has it by default. */
const sessionsMax = '2000';

/** One agentd, measured from outside by its pid. */
export class AgentProcess {
  #ending = false;

  constructor(owner, nodeArgs = []) {
    this.path = owner.path('agent');
    this.line = `unix:${this.path}`;
    this.owner = owner;
    const log = `${this.path}.log`;
    const logDescriptor = openSync(log, 'w');
    const args = [...nodeFlags, ...nodeArgs, program, '--listen', this.line, '--sessions-max', sessionsMax];
    this.child = owner.start(process.execPath, args, { stdio: ['ignore', 'ignore', logDescriptor] });
    closeSync(logDescriptor);
    this.child.once('exit', (code, signal) => {
      if (!this.#ending)
        console.error(`agentd ended (${code ?? signal}); its log:\n${readFileSync(log, 'utf8')}`);
    });
  }

  get pid() {
    return this.child.pid;
  }

  /** The first connection that it accepts: asked for every millisecond, because start-up time is a figure. */
  async firstConnection() {
    return await until(
      () => {
        if (this.child.exitCode !== null) throw new Error(`agentd ended with ${this.child.exitCode}`);
        return existsSync(this.path) && connectionTo(this.path);
      },
      { timeoutMs: 10_000, intervalMs: 1, what: `agentd accepts on ${this.path}` },
    );
  }

  async end() {
    this.#ending = true;
    await this.owner.end(this.child);
  }
}

function connectionTo(path) {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(socket));
    socket.once('error', () => resolve(undefined));
  });
}

/** A process's memory now, KiB, as the kernel accounts it. */
export function memoryOf(pid) {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kib = (field) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(rollup)[1]);
  return { rss: kib('Rss'), privateDirty: kib('Private_Dirty') };
}

/** Looks at a process's memory every `intervalMs` while `work` runs, and keeps the highest it saw. */
export async function memoryPeak(pid, work, intervalMs = 25) {
  const peak = memoryOf(pid);
  let samples = 1;
  const look = () => {
    const now = memoryOf(pid);
    peak.rss = Math.max(peak.rss, now.rss);
    peak.privateDirty = Math.max(peak.privateDirty, now.privateDirty);
    samples++;
  };
  const timer = setInterval(look, intervalMs);
  try {
    await work();
    look();
  } finally {
    clearInterval(timer);
  }
  return { ...peak, samples };
}
