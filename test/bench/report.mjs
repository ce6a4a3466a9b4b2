export const decimals = (value, digits) => value.toFixed(digits);
export const ratio = (value) => value.toFixed(2);

/** Text columns under a title; the first column is names, the others are figures. */
export function table(title, columns, rows) {
  const lines = [columns, ...rows];
  const widths = columns.map((_, column) => Math.max(...lines.map((line) => String(line[column]).length)));
  const text = lines.map((line) =>
    line
      .map((cell, column) =>
        column === 0 ? String(cell).padEnd(widths[0]) : String(cell).padStart(widths[column]),
      )
      .join('  ')
      .trimEnd(),
  );
  return [title, ...text.map((line) => `  ${line}`)].join('\n');
}

/** What was to be reached and what was: shown, never asserted. */
export function targetTable(targets) {
  const rows = targets.map(({ what, target, limit, floor, value, unit, peer }) => [
    what,
    `${value.toFixed(unit === 'x' ? 2 : 1)} ${unit}`,
    target,
    (limit === undefined ? value >= floor : value <= limit) ? 'reached' : 'MISSED',
    peer ?? '',
  ]);
  return table('To reach', ['', 'measured', 'to reach', '', 'best peers (PEERS.md)'], rows);
}

export function machineLines(machine) {
  return [
    `${machine.date}  ${machine.cpu}, ${machine.cores} cores, ${machine.memoryMiB} MiB`,
    `${machine.kernel}, Node ${machine.node}, load before ${machine.loadBefore}`,
  ].join('\n');
}
