// How the demo speaks: headings, explanations, what was seen, and what was to be seen.

let failed = 0;
const rows = [];

export function heading(text) {
  console.log(`\n== ${text}`);
}

/** An explanation. */
export function say(text) {
  console.log(`   ${text}`);
}

/** Something that was really seen. */
export function show(text) {
  console.log(`      ${text}`);
}

/** What the reader has just been told. */
export function check(claim, holds) {
  if (!holds) failed++;
  console.log(`   ${holds ? 'ok ' : 'NOT'} ${claim}`);
}

export function failures() {
  return failed;
}

/** Keeps an exit record for the end. */
export function keep(name, exit) {
  rows.push({ name, text: compact(exit) });
}

/** The exit records so far, a line each. */
export function records() {
  const width = Math.max(...rows.map(({ name }) => name.length));
  return rows.map(({ name, text }) => `${name.padEnd(width)}  ${text}`);
}

function compact({
  code,
  signal,
  coreDumped,
  timedOut,
  killedBy,
  durationUs,
  rusage,
  stdout,
  stderr,
  outputComplete,
}) {
  const ended = signal === null ? `code ${code}` : `${signal}${coreDumped ? ' (core)' : ''}`;
  const cpuMs = (rusage.userUs + rusage.systemUs) / 1000;
  return [
    ended.padEnd(8),
    `${Math.round(durationUs / 1000)} ms`.padStart(7),
    `cpu ${cpuMs.toFixed(0)} ms`.padStart(10),
    `stdout ${stdout.bytes}`.padEnd(10),
    `stderr ${stderr.bytes}`,
    ...(timedOut ? ['timed out'] : []),
    ...(killedBy === undefined ? [] : [`killed by ${killedBy}`]),
    ...(outputComplete ? [] : ['output not complete']),
  ].join('  ');
}
