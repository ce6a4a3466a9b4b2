import { HawserError } from '@hawser/protocol';

/** Linux's signals on x86_64 and aarch64 (signal(7)), the first name of a number being the one shown. */
const standard: readonly (readonly [name: string, number: number])[] = [
  ['HUP', 1],
  ['INT', 2],
  ['QUIT', 3],
  ['ILL', 4],
  ['TRAP', 5],
  ['ABRT', 6],
  ['IOT', 6],
  ['BUS', 7],
  ['FPE', 8],
  ['KILL', 9],
  ['USR1', 10],
  ['SEGV', 11],
  ['USR2', 12],
  ['PIPE', 13],
  ['ALRM', 14],
  ['TERM', 15],
  ['STKFLT', 16],
  ['CHLD', 17],
  ['CLD', 17],
  ['CONT', 18],
  ['STOP', 19],
  ['TSTP', 20],
  ['TTIN', 21],
  ['TTOU', 22],
  ['URG', 23],
  ['XCPU', 24],
  ['XFSZ', 25],
  ['VTALRM', 26],
  ['PROF', 27],
  ['WINCH', 28],
  ['IO', 29],
  ['POLL', 29],
  ['PWR', 30],
  ['SYS', 31],
  ['UNUSED', 31],
];

/** As glibc has it and every shell shows it; the kernel's own begin at 32, which libc keeps two of. */
const realTimeFirst = 34;
const realTimeLast = 64;

const numbers = new Map<string, number>();
const names = new Map<number, string>();

function add(name: string, number: number): void {
  numbers.set(name, number);
  if (!names.has(number)) names.set(number, `SIG${name}`);
}

for (const [name, number] of standard) add(name, number);
add('32', 32);
add('33', 33);
// Each is known from either end; it is shown from the nearer one, as bash's kill -l does.
const realTimeSpan = realTimeLast - realTimeFirst;
const offset = (sign: '+' | '-', distance: number): string => (distance === 0 ? '' : `${sign}${distance}`);
for (let number = realTimeFirst; number <= realTimeLast; number++) {
  const fromFirst = `RTMIN${offset('+', number - realTimeFirst)}`;
  const fromLast = `RTMAX${offset('-', realTimeLast - number)}`;
  const nearFirst = number - realTimeFirst <= realTimeSpan / 2;
  add(nearFirst ? fromFirst : fromLast, number);
  add(nearFirst ? fromLast : fromFirst, number);
}

/**
 * The number of a signal given as `SIGTERM`, `TERM`, `sigterm`, `15`, `SIGRTMIN+3` or `RTMAX-1`.
 *
 * @throws HawserError `unknown_signal`
 */
export function signalNumber(signal: string): number {
  const name = signal.toUpperCase();
  const number = numbers.get(name.startsWith('SIG') ? name.slice(3) : name) ?? plainNumber(name);
  if (number !== undefined) return number;
  throw new HawserError('unknown_signal', `unknown signal ${JSON.stringify(signal)}`);
}

/** The name of a signal number, e.g. `SIGTERM`; every number has one. */
export function signalName(number: number): string {
  return names.get(number) ?? `SIG${number}`;
}

function plainNumber(text: string): number | undefined {
  if (!/^[1-9]\d?$/.test(text)) return undefined;
  const number = Number(text);
  return number <= realTimeLast ? number : undefined;
}
