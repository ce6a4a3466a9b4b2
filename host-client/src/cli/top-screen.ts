import type { TerminalSize } from '@hawser/protocol';
import { cutToWidth } from './display-width.js';
import { sortedUsages, type Usage, type UsageOrder } from './usage.js';
import { orderNames, totalsLine, usageLines } from './usage-table.js';

export interface TopView {
  /** What is watched, and how often. */
  readonly title: string;
  /** Absent until the first sample has come. */
  readonly usages: readonly Usage[] | undefined;
  /** Further sessions, of which nothing is known. */
  readonly omitted: number;
  readonly order: UsageOrder;
}

const keys = 'sort by: c CPU  m memory  p processes  n name    q quit';
/** Lines around the sessions: title, totals, an empty one, the table's titles, keys. */
const linesAround = 5;

/** What `hawser top` shows, as many lines as the terminal has at most; the table's titles are reversed. */
export function topLines(view: TopView, { rows, cols }: TerminalSize): string[] {
  const { usages, omitted, order } = view;
  const cut = (text: string): string => cutToWidth(text, cols);
  const room = Math.max(0, rows - linesAround);
  const sorted = sortedUsages(usages ?? [], order);
  const fits = sorted.length + Math.min(omitted, 1) <= room;
  const shown = fits ? sorted : sorted.slice(0, Math.max(0, room - 1));
  const [titles = '', ...lines] = usageLines(shown, cols);
  const hidden = sorted.length - shown.length + omitted;
  const totals = usages === undefined ? 'waiting for the first sample' : totalsLine(usages);
  const body = [...lines, ...(hidden > 0 ? [cut(`and ${hidden} more`)] : [])].slice(0, room);
  const blank = Array.from({ length: room - body.length }, () => '');
  return [
    cut(view.title),
    cut(`${totals}, by ${orderNames[order]}`),
    '',
    reversed(titles.padEnd(cols)),
    ...body,
    ...blank,
    cut(keys),
  ].slice(0, rows);
}

function reversed(text: string): string {
  return `\x1b[7m${text}\x1b[0m`;
}
