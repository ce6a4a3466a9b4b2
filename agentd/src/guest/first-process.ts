import { readFileSync } from 'node:fs';
import { HawserError, systemClock } from '@hawser/protocol';
import { Agent } from '../agent.js';
import type { Config } from '../config.js';
import { readConfig, systemSources } from '../config.js';
import { Faults } from '../faults.js';
import { systemCallError } from '../ffi/errno.js';
import * as guest from '../ffi/guest.js';
import type { Log } from '../log.js';
import { openLog } from '../log.js';
import { pause } from '../pause.js';
import { OrphanReaper } from '../processes/orphan-reaper.js';
import { agentVersion } from '../version.js';
import { delegateCgroups } from './cgroups.js';
import { openKernelLog, sharesConsole, writeKernelLog } from './kernel-log.js';
import type { Mount } from './mounts.js';
import { mountOne, mountSystem, parseMount, systemMounts } from './mounts.js';
import type { PowerMode } from './power.js';
import { endMachine, endProcesses, releaseFileSystems } from './power.js';

/** A disk of the setting `mounts` may come later than its driver: it is tried so often, and so far apart. */
const mountTriesMax = 50;
const mountTryMs = 100;

/** What busybox's and sysvinit's `poweroff`, `reboot` and `halt` send, and the kernel on Ctrl-Alt-Del. */
const powerSignals: readonly (readonly [signal: NodeJS.Signals, mode: PowerMode])[] = [
  ['SIGUSR1', 'halt'],
  ['SIGUSR2', 'poweroff'],
  ['SIGPWR', 'poweroff'],
  ['SIGTERM', 'reboot'],
  ['SIGINT', 'reboot'],
];

/**
 * agentd as the first process of a guest: makes it a system, serves the lines, and never ends but
 * with the machine.
 *
 * @returns false where the configuration says that this is no guest's init (a container's first
 *   process): nothing was changed then, and the caller goes on as beside another init.
 */
export function runFirstProcess(args: readonly string[]): boolean {
  const problems: [string, unknown][] = [];
  const attempt = (what: string, action: () => void): void => {
    try {
      action();
    } catch (error) {
      problems.push([what, error]);
    }
  };
  const config = configOf(args);
  if (config === undefined) return true;
  if (config.init === false) return false;
  mountSystem((error) => problems.push(['could not mount', error]));
  attempt('no control groups', delegateCgroups);
  attempt('no host name', () => setHostname(config.hostname));
  attempt('no loopback', () => check('ioctl SIOCSIFFLAGS', guest.loopbackUp(), 'lo'));
  attempt('Ctrl-Alt-Del resets', () =>
    check('reboot', guest.reboot(guest.rebootCommands.disableCtrlAltDel), 'CAD off'),
  );
  const log = logOf(config);
  for (const [what, error] of problems) log.error({ reason: String(error) }, what);
  new FirstProcess(config, log).start();
  return true;
}

/**
 * Needs /proc for the kernel's command line. A wrong configuration is the one thing that ends the
 * machine: nobody could tell it anything, and a wrong guess might leave out its token.
 */
function configOf(args: readonly string[]): Config | undefined {
  try {
    if (!hasProc()) mountOne(systemMounts[0] as Mount);
    const config = readConfig(systemSources(args));
    if (typeof config === 'string') throw new HawserError('invalid_config', `--${config} is not for PID 1`);
    for (const mount of config.mounts) parseMount(mount);
    return config;
  } catch (error) {
    writeKernelLog(2, `${(error as Error).message}; powering off`);
    process.stderr.write(`hawser-agentd: ${(error as Error).message}\n`);
    guest.sync();
    guest.reboot(guest.rebootCommands.poweroff);
    return undefined;
  }
}

function hasProc(): boolean {
  try {
    return readFileSync('/proc/self/stat').length > 0;
  } catch {
    return false;
  }
}

function logOf(config: Config): Log {
  return openKernelLog(config.logLevel, sharesConsole(config.listen)) ?? openLog(config.logLevel);
}

/** Of the configuration, else what is there already (the kernel's `hostname=`), else the image's. */
function setHostname(configured: string | undefined): void {
  const unset = '(none)';
  if (configured === undefined && readFileSync('/proc/sys/kernel/hostname', 'utf8').trim() !== unset) return;
  let name = configured;
  try {
    name ??= readFileSync('/etc/hostname', 'utf8').trim();
  } catch {
    // The image names none.
  }
  check('sethostname', guest.setHostname(name === undefined || name === '' ? 'hawser' : name), String(name));
}

function check(name: string, result: number, what: string): void {
  if (result < 0) throw systemCallError(name, result, what);
}

type State = { at: 'serving' } | { at: 'ending'; mode: PowerMode };

class FirstProcess {
  readonly #config: Config;
  readonly #log: Log;
  readonly #faults: Faults;
  readonly #agent: Agent;
  #state: State = { at: 'serving' };

  constructor(config: Config, log: Log) {
    this.#config = config;
    this.#log = log;
    this.#faults = new Faults(log, systemClock);
    this.#faults.keepServing();
    this.#agent = new Agent(config, log, this.#faults, {
      shutDown: (mode, graceMs) => void this.#shutDown(mode, graceMs),
    });
  }

  start(): void {
    const log = this.#log;
    process.on('exit', () => this.#lastResort());
    process.on('SIGHUP', () => log.info({}, 'SIGHUP means nothing here'));
    for (const [signal, mode] of powerSignals) process.on(signal, () => void this.#shutDown(mode, undefined));
    for (const mount of this.#config.mounts) void this.#mount(parseMount(mount));
    this.#agent
      .start(() => log.error({}, 'the line was closed for good'))
      .then(() => log.info({ version: agentVersion, ...startTimes() }, 'ready'))
      .catch((error: unknown) => {
        if (!(error instanceof HawserError)) this.#faults.report(error, 'starting');
        // The name of a line that cannot be one: a wrong configuration as any other.
        writeKernelLog(2, `${(error as Error).message}; powering off`);
        void this.#shutDown('poweroff', 0);
      });
  }

  async #mount(mount: Mount): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        mountOne(mount);
        return;
      } catch (error) {
        const { errno } = error as HawserError;
        const isComing = errno === 'ENOENT' || errno === 'ENXIO' || errno === 'ENODEV';
        if (!isComing || tries >= mountTriesMax) {
          this.#log.error({ reason: (error as Error).message }, 'could not mount');
          return;
        }
      }
      await pause(mountTryMs);
    }
  }

  /** Sessions, then all other processes, then the disks, then the machine. The first call counts. */
  async #shutDown(mode: PowerMode, graceMs: number | undefined): Promise<void> {
    if (this.#state.at === 'ending') return;
    this.#state = { at: 'ending', mode };
    const log = this.#log;
    log.info({ mode }, 'shutting down');
    const reaper = new OrphanReaper(() => false);
    for (const step of [
      () => this.#agent.shutdown(graceMs),
      () => {
        reaper.start();
        return endProcesses(graceMs);
      },
      async () => releaseFileSystems(log),
    ]) {
      try {
        await step();
      } catch (error) {
        if (error instanceof HawserError)
          log.error({ reason: error.message }, 'a step of the shutdown failed');
        else this.#faults.report(error, 'a step of the shutdown');
      }
    }
    endMachine(this.#config.powerOffReboots && mode === 'poweroff' ? 'reboot' : mode, log);
  }

  /** Something called `process.exit`: the kernel would panic. */
  #lastResort(): void {
    const mode = this.#state.at === 'ending' ? this.#state.mode : 'poweroff';
    writeKernelLog(2, `the first process ends: ${mode}`);
    guest.sync();
    endMachine(mode, this.#log);
  }
}

/** Where the time of the start went, ms: all since the kernel's start, of that this process, of that Node itself. */
function startTimes(): { uptimeMs: number; processMs: number; nodeMs: number } {
  return {
    uptimeMs: Math.round(Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000),
    processMs: Math.round(performance.now()),
    nodeMs: Math.round(performance.nodeTiming.bootstrapComplete),
  };
}
