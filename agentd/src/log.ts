import { writeSync } from 'node:fs';
import type * as Pino from 'pino';
import { lateRequire } from './ffi/late-require.js';

export const logLevels = ['silent', 'error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof logLevels)[number];

/** Structured records on stderr. Fields never hold env values, stdin or output. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

type RecordLevel = keyof Log;

/** For so long records may wait for pino to be loaded, ms. */
const patienceMs = 100;

/**
 * A log through pino, which is loaded when the agent's start is over, since loading it takes a third
 * of that: warnings load it at once, other records wait a little. Where it cannot be loaded, there is a plainer one.
 */
export function openLog(level: LogLevel): Log {
  const threshold = logLevels.indexOf(level);
  let waiting: [RecordLevel, object, string][] = [];
  let logger: Log | undefined;
  const load = (): void => {
    if (logger !== undefined) return;
    logger = pinoLog(level);
    for (const [at, fields, message] of waiting) logger[at](fields, message);
    waiting = [];
  };
  const record =
    (at: RecordLevel) =>
    (fields: object, message: string): void => {
      if (logLevels.indexOf(at) > threshold) return;
      if (logger !== undefined) {
        logger[at](fields, message);
        return;
      }
      const first = waiting.push([at, fields, message]) === 1;
      if (at === 'error' || at === 'warn') load();
      if (!first || logger !== undefined) return;
      setTimeout(load, patienceMs).unref();
      process.once('exit', load);
    };
  return { debug: record('debug'), info: record('info'), warn: record('warn'), error: record('error') };
}

function pinoLog(level: LogLevel): Log {
  try {
    const pino = lateRequire('pino') as typeof Pino;
    return pino.pino({ level, base: { pid: process.pid } }, pino.destination({ fd: 2, sync: true }));
  } catch (error) {
    const log = plainLog();
    log.warn({ reason: String(error) }, 'pino cannot be loaded');
    return log;
  }
}

/** pino's numbers for the levels. */
const levelNumbers = { debug: 20, info: 30, warn: 40, error: 50 } as const;

/** Records as pino writes them. */
function plainLog(): Log {
  const record =
    (at: RecordLevel) =>
    (fields: object, msg: string): void => {
      const text = JSON.stringify({
        level: levelNumbers[at],
        time: Date.now(),
        pid: process.pid,
        ...fields,
        msg,
      });
      writeSync(2, `${text}\n`);
    };
  return { debug: record('debug'), info: record('info'), warn: record('warn'), error: record('error') };
}
