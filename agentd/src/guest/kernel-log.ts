import { accessSync, closeSync, constants, openSync, readFileSync, writeSync } from 'node:fs';
import type { Log, LogLevel } from '../log.js';
import { logLevels } from '../log.js';

/** syslog(2)'s severities: what a console that was made `quiet` still shows are errors. */
const severities = { error: 3, warn: 4, info: 6, debug: 7 } as const;
/** Never shown on a console, unless the kernel was told `debug` or `ignore_loglevel`. */
const severityOffConsole = 7;
/** The kernel refuses longer records (printk.c, LOG_LINE_MAX), bytes. */
const recordBytesMax = 960;
/** Records that one text may take: a stack is longer than one holds. */
const recordsMax = 6;

type Severity = keyof typeof severities;

/**
 * A log into the kernel's own, where the first process has no better place: records have the
 * kernel's time stamps, a guest's user reads them with dmesg, and a console that nobody reads
 * stops nobody.
 *
 * `consoleIsLine`: the kernel's console is a line of the agent. Then nothing is printed on it, since
 * the kernel would print into the middle of a frame.
 *
 * @returns undefined where there is no such log, or not for us: in a container
 */
export function openKernelLog(level: LogLevel, consoleIsLine: boolean): Log | undefined {
  if (!isWritable('/dev/kmsg')) return undefined;
  const threshold = logLevels.indexOf(level);
  allowBursts();
  const record =
    (at: Severity) =>
    (fields: object, message: string): void => {
      if (logLevels.indexOf(at) > threshold) return;
      const text = JSON.stringify({ level: at, msg: message, ...fields });
      writeKernelLog(consoleIsLine ? severityOffConsole : severities[at], text);
    };
  return { debug: record('debug'), info: record('info'), warn: record('warn'), error: record('error') };
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Without it a record is kept back until the next comes, which might go on with its line. */
const newline = Buffer.from('\n');

/** For dmesg, `hawser-agentd: TEXT`, in several records where it is long. Nothing is thrown: there is nowhere left to tell it. */
export function writeKernelLog(severity: number, text: string): void {
  const bytes = Buffer.from(text.replaceAll('\n', ' '));
  const head = Buffer.from(`<${severity}>hawser-agentd: `);
  const room = recordBytesMax - head.length - newline.length;
  try {
    const file = openSync('/dev/kmsg', 'w');
    try {
      for (let at = 0; at < Math.min(bytes.length, recordsMax * room); at += room)
        writeSync(file, Buffer.concat([head, bytes.subarray(at, at + room), newline]));
    } finally {
      closeSync(file);
    }
  } catch {
    // Without /dev/kmsg there is no log.
  }
}

/** By default the kernel drops what user space logs beyond ten records in five seconds. */
function allowBursts(): void {
  try {
    const file = openSync('/proc/sys/kernel/printk_devkmsg', 'w');
    writeSync(file, 'on\n');
    closeSync(file);
  } catch {
    // Set on the kernel's command line, and then for good; or there is no such file.
  }
}

/** One of the lines is the terminal that the kernel prints to. */
export function sharesConsole(lines: readonly string[]): boolean {
  let active: string[];
  try {
    active = readFileSync('/sys/class/tty/console/active', 'utf8').trim().split(/\s+/);
  } catch {
    return false; // a kernel without consoles
  }
  const devices = new Set(['/dev/console', ...active.map((name) => `/dev/${name}`)]);
  return lines.some(
    (line) => line.startsWith('uart:') && devices.has(line.slice('uart:'.length).split('?')[0] as string),
  );
}
