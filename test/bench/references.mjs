import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const sources = fileURLToPath(new URL('./references/', import.meta.url));

const compiler = process.env.CC ?? 'cc';

/** Compiles the C programs into `directory` and gives their paths by name. */
export function compileReferences(directory) {
  const compiled = {};
  for (const name of ['exec-pipes', 'exec-terminal', 'produce', 'consume']) {
    compiled[name] = join(directory, name);
    execFileSync(compiler, ['-O2', '-Wall', '-o', compiled[name], join(sources, `${name}.c`), '-lutil'], {
      stdio: ['ignore', 'inherit', 'inherit'],
      timeout: 30_000,
    });
  }
  return compiled;
}
