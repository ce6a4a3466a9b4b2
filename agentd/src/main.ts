import { HawserError, systemClock } from '@hawser/protocol';
import { Agent } from './agent.js';
import type { Config } from './config.js';
import { readConfig, systemSources, usage } from './config.js';
import { Faults } from './faults.js';
import { runFirstProcess } from './guest/first-process.js';
import type { Log } from './log.js';
import { openLog } from './log.js';
import { agentVersion } from './version.js';

/** Exit codes: 0 after a shutdown in order, 1 when a line could not be opened, 2 for a wrong configuration. */
function main(): void {
  let config: Config | 'help' | 'version';
  try {
    config = readConfig(systemSources(process.argv.slice(2)));
  } catch (error) {
    process.stderr.write(`hawser-agentd: ${(error as Error).message}\n`);
    process.exitCode = 2;
    return;
  }
  if (config === 'help') process.stdout.write(usage);
  else if (config === 'version') process.stdout.write(`${agentVersion}\n`);
  else run(config, openLog(config.logLevel));
}

function run(config: Config, log: Log): void {
  const faults = new Faults(log, systemClock);
  faults.keepServing();
  const agent = new Agent(config, log, faults);
  let ending = false;
  const end = (why: string): void => {
    if (ending) return;
    ending = true;
    log.info({ why }, 'shutting down');
    void agent.shutdown().then(() => process.exit(0));
  };
  process.on('SIGTERM', () => end('SIGTERM'));
  process.on('SIGINT', () => end('SIGINT'));
  process.on('SIGHUP', () => end('SIGHUP'));
  agent
    .start(() => end('the line was closed'))
    .then(() => log.info({ version: agentVersion }, 'ready'))
    .catch((error: unknown) => {
      if (!(error instanceof HawserError)) faults.report(error, 'starting');
      const reason = error instanceof HawserError ? `${error.code}: ${error.message}` : String(error);
      log.error({ reason }, 'could not start');
      process.exitCode = error instanceof HawserError && error.code === 'invalid_config' ? 2 : 1;
    });
}

/** As a guest's first process it never ends by itself. */
if (process.pid !== 1 || !runFirstProcess(process.argv.slice(2))) main();
