// Makes dist/hawser-agentd.cjs: the whole agent in one CommonJS file, because a guest starts it cold
// and opening a hundred small modules costs more than everything else at start-up.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const packageRoot = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const source = join(packageRoot, 'src');
const entry = join(source, 'main.ts');

if (!existsSync(entry)) {
  console.error('agentd/src/main.ts does not exist: dist/hawser-agentd.cjs is not made');
  process.exit(0);
}

/**
 * In CommonJS there is no `import.meta`. Each module of agentd gets the folder that it would have as
 * `dist/<module>.js`, so that `join(import.meta.dirname, '../../native/…')` means the same from src/,
 * from dist/ and from the bundle.
 */
const moduleFolders = {
  name: 'module-folders',
  setup({ onLoad }) {
    onLoad({ filter: /\.ts$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8');
      if (!text.includes('import.meta')) return undefined;
      const inDist = relative(source, dirname(path));
      if (inDist.startsWith('..')) throw new Error(`${path} uses import.meta and is not in agentd/src`);
      return {
        loader: 'ts',
        contents: text.replaceAll('import.meta.dirname', `moduleFolder(${JSON.stringify(inDist)})`),
      };
    });
  },
};

await build({
  absWorkingDir: packageRoot,
  entryPoints: [entry],
  outfile: join(packageRoot, 'dist/hawser-agentd.cjs'),
  bundle: true,
  format: 'cjs',
  platform: 'node',
  target: 'node20',
  conditions: ['@hawser/source'],
  // An ES module is built in without a function around it, and only what is used of it.
  mainFields: ['module', 'main'],
  // Native or rarely needed: found in node_modules when they are first used, if they are.
  external: ['koffi', 'node-pty', 'serialport', 'pino'],
  // `import()` becomes `require`: without it, Node never starts its ESM loader, which a guest feels.
  supported: { 'dynamic-import': false },
  sourcemap: 'linked',
  sourcesContent: false,
  logLevel: 'warning',
  banner: { js: "const moduleFolder = (path) => require('node:path').join(__dirname, path);" },
  plugins: [moduleFolders],
});
