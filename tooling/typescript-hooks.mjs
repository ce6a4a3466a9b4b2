import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { threadId } from 'node:worker_threads';

const cache = new URL('../.tap/typescript/', import.meta.url);
const options = {
  loader: 'ts',
  format: 'esm',
  target: 'node20',
  sourcemap: 'inline',
  tsconfigRaw: { compilerOptions: { verbatimModuleSyntax: true, target: 'es2023' } },
};
const require = createRequire(import.meta.url);
const salt = JSON.stringify([options, require('esbuild/package.json').version]);

mkdirSync(cache, { recursive: true });

/** `./name.js` in a TypeScript module means `./name.ts` beside it. */
export async function resolve(specifier, context, next) {
  if (/^\.{0,2}\/.*\.js$/.test(specifier) && context.parentURL?.endsWith('.ts')) {
    const url = new URL(specifier.replace(/\.js$/, '.ts'), context.parentURL);
    if (existsSync(url)) return { url: url.href, format: 'module', shortCircuit: true };
  }
  return next(specifier, context);
}

export async function load(url, context, next) {
  if (!url.startsWith('file:') || !/\.ts(\?|$)/.test(url)) return next(url, context);
  return { format: 'module', source: transpiled(fileURLToPath(url)), shortCircuit: true };
}

function transpiled(path) {
  const text = readFileSync(path, 'utf8');
  const key = createHash('sha256').update(salt).update('\0').update(path).update('\0').update(text);
  const kept = new URL(`${key.digest('hex')}.mjs`, cache);
  if (existsSync(kept)) return readFileSync(kept, 'utf8');
  // Loaded on a miss only: with everything kept, no file of esbuild is read.
  const { code } = require('esbuild').transformSync(text, { ...options, sourcefile: path });
  const unfinished = new URL(`${kept.pathname.split('/').at(-1)}.${process.pid}.${threadId}`, cache);
  writeFileSync(unfinished, code);
  renameSync(unfinished, kept); // other test processes may be reading: whole files only
  return code;
}
