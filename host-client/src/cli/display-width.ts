/** What is drawn over the character before it. */
const combining = /^[\p{Mn}\p{Me}]$/u;
/** What takes two columns of a terminal (UAX #11, wide and fullwidth). */
const wide =
  /^[\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Bopomofo}\p{Emoji_Presentation}\u3000-\u303e\u30a0-\u30ff\uff01-\uff60\uffe0-\uffe6]$/u;
const plain = /^[ -~]*$/;

/** Columns of a terminal that the text takes; it has no control characters. */
export function displayWidth(text: string): number {
  if (plain.test(text)) return text.length;
  let columns = 0;
  for (const character of text) columns += characterWidth(character);
  return columns;
}

/** At most so many columns of the text; `…` at the end says that there is more. */
export function cutToWidth(text: string, columnsMax: number): string {
  if (displayWidth(text) <= columnsMax) return text;
  if (columnsMax < 1) return '';
  let kept = '';
  let columns = 1; // of the ellipsis
  for (const character of text) {
    columns += characterWidth(character);
    if (columns > columnsMax) break;
    kept += character;
  }
  return `${kept}…`;
}

function characterWidth(character: string): number {
  if (combining.test(character)) return 0;
  return wide.test(character) ? 2 : 1;
}
