import { cutToWidth, displayWidth } from './display-width.js';

export interface Column {
  readonly title: string;
  readonly align?: 'right';
  /** How narrow it may be made where the table is too wide; without it, as wide as its widest cell. */
  readonly narrowest?: number;
}

const gap = '  ';

/**
 * Rows under their titles, a line each. Cells have no control characters.
 *
 * @param columnsMax of the terminal: the table is made to fit, its last columns first. Without it nothing is cut.
 */
export function tableLines(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  columnsMax?: number,
): string[] {
  const lines = [columns.map(({ title }) => title), ...rows];
  const natural = columns.map((_, index) =>
    Math.max(...lines.map((line) => displayWidth(line[index] ?? ''))),
  );
  const widths = columnsMax === undefined ? natural : fitted(columns, natural, columnsMax);
  return lines.map((line) => {
    const cells = columns.map(({ align }, index) => padded(line[index] ?? '', widths[index] ?? 0, align));
    const text = cells.join(gap).trimEnd();
    return columnsMax === undefined ? text : cutToWidth(text, columnsMax);
  });
}

function fitted(columns: readonly Column[], natural: readonly number[], columnsMax: number): number[] {
  const widths = [...natural];
  const gaps = gap.length * (columns.length - 1);
  let excess = widths.reduce((sum, width) => sum + width, gaps) - columnsMax;
  for (let index = columns.length - 1; index >= 0 && excess > 0; index--) {
    const width = widths[index] as number;
    const narrowed = Math.max(Math.min(columns[index]?.narrowest ?? width, width), width - excess);
    excess -= width - narrowed;
    widths[index] = narrowed;
  }
  return widths;
}

function padded(cell: string, width: number, align: 'right' | undefined): string {
  const text = cutToWidth(cell, width);
  const padding = ' '.repeat(width - displayWidth(text));
  return align === 'right' ? padding + text : text + padding;
}
