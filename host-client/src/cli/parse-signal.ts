import { BadValue } from './bad-value.js';

/** The signals that Linux names, in the order of their numbers; the guest runs Linux, whatever runs this. */
export const signalNames = (
  'SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE SIGALRM ' +
  'SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ SIGVTALRM SIGPROF ' +
  'SIGWINCH SIGIO SIGPWR SIGSYS'
).split(' ');

const firstRealTime = 34; // what glibc leaves of the kernel's 32
const lastRealTime = 64;

/** `TERM`, `sigterm`, `SIGTERM`, `15`, `RTMIN+1`: the name as the wire has it. */
export function parseSignal(text: string): string {
  if (/^\d+$/.test(text)) {
    const name = signalName(Number(text));
    if (name === undefined)
      throw new BadValue(`"${text}" is not the number of a signal, 1 to ${lastRealTime}`);
    return name;
  }
  const upper = text.toUpperCase();
  const name = upper.startsWith('SIG') ? upper : `SIG${upper}`;
  if (signalNumber(name) === undefined)
    throw new BadValue(`"${text}" is not a signal, such as TERM or RTMIN+1`);
  return name;
}

function signalName(number: number): string | undefined {
  if (number >= firstRealTime && number <= lastRealTime)
    return number === firstRealTime ? 'SIGRTMIN' : `SIGRTMIN+${number - firstRealTime}`;
  return signalNames[number - 1];
}

/** The number of a signal by its name on Linux, `SIGRTMIN+1` and `SIGRTMAX-1` included. */
export function signalNumber(name: string): number | undefined {
  const realTime = /^SIGRT(MIN|MAX)(?:([+-])(\d+))?$/.exec(name);
  if (realTime !== null) {
    const base = realTime[1] === 'MIN' ? firstRealTime : lastRealTime;
    const number = base + Number(`${realTime[2] ?? '+'}${realTime[3] ?? '0'}`);
    return number >= firstRealTime && number <= lastRealTime ? number : undefined;
  }
  // The two that glibc keeps for itself have no other name.
  if (name === 'SIG32' || name === 'SIG33') return Number(name.slice(3));
  const at = signalNames.indexOf(name);
  return at === -1 ? undefined : at + 1;
}
