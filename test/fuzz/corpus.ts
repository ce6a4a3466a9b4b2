import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';

const folder = (name: string): URL => new URL(`./corpus/${name}/`, import.meta.url);

/** What was found worth keeping, in a fixed order. */
export function corpusOf(name: string): Uint8Array[] {
  if (!existsSync(folder(name))) return [];
  return readdirSync(folder(name))
    .sort()
    .map((file) => readFileSync(new URL(file, folder(name))));
}

/** @returns the file's path. */
export function keep(name: string, input: Uint8Array): string {
  mkdirSync(folder(name), { recursive: true });
  const digest = createHash('sha1').update(input).digest('hex').slice(0, 16);
  const file = new URL(`${digest}.bin`, folder(name));
  writeFileSync(file, input);
  return file.pathname;
}
