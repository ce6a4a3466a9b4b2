import { join } from 'node:path';

/**
 * A package that is loaded when it is first needed, as `require` finds it from this module, or, in a bundle to
 * CommonJS that is not a file of its own, from the executable. `node:module` itself is loaded late: it takes its time.
 */
export function lateRequire(name: string): unknown {
  const folder: string | undefined = import.meta.dirname;
  const from = folder === undefined ? process.execPath : join(folder, 'late-require.js');
  return process.getBuiltinModule('node:module').createRequire(from)(name);
}
