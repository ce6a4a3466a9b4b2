import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import type { FileTree } from './file-tree.js';
import { bytesOf } from './file-tree.js';

export type Libc = 'glibc' | 'musl';

/** Where the agent lives in a guest. */
export const agentFolder = '/opt/hawser';
export const agentProgram = `${agentFolder}/agentd.cjs`;

const root = fileURLToPath(new URL('../..', import.meta.url));
const modules = join(root, 'node_modules');
const here = fileURLToPath(new URL('.', import.meta.url));

export interface AgentPayload {
  readonly libc: Libc;
  /** Folder for what is compiled on the way; the caller's. */
  readonly work: string;
}

/**
 * Adds the agent: the bundle, libhawser.so, and of `node_modules` what the agent loads and no more.
 * koffi is loaded with the first rare call (agentd/src/ffi/native.ts), node-pty's binding with the first terminal,
 * serialport's with a `uart:` line, pino when there is something to log.
 *
 * @returns the native files that were added, on this machine, for whoever looks for their libraries
 */
export function addAgent(tree: FileTree, { libc, work }: AgentPayload): string[] {
  const bundle = join(root, 'agentd/dist/hawser-agentd.cjs');
  if (!existsSync(bundle)) throw new Error(`${bundle} does not exist: npm run build makes it`);
  // Its source map stays behind.
  const code = readFileSync(bundle, 'utf8').replace(/\n\/\/# sourceMappingURL=.*\n*$/, '\n');
  tree.text(`${agentFolder}/agentd.js`, code);
  tree.copy(agentProgram, join(here, 'starter.cjs'));
  const native = [addLibrary(tree, libc, work), addKoffi(tree, libc), addSerialport(tree, libc)];
  addBundled(tree, 'pino', 'index.js', ["module.exports = require('pino');"]);
  if (libc === 'glibc') native.push(addNodePty(tree));
  return native;
}

/**
 * Adds V8's code cache of the agent, made by the Node that will run it. Where that does not run on
 * this machine there is none.
 */
export function addCodeCache(tree: FileTree, node: string, flags: readonly string[], work: string): void {
  const folder = join(work, 'agent');
  const cache = join(work, 'agentd.cache');
  for (const [path, entry] of tree.entries()) {
    if (!path.startsWith(`${agentFolder}/`) || entry.kind !== 'file') continue;
    const target = join(folder, path.slice(agentFolder.length));
    mkdirSync(join(target, '..'), { recursive: true });
    writeFileSync(target, bytesOf(entry.content));
  }
  // A seed of its own: the hashes of names are in the cache, and V8 does not compare this flag.
  const words = [
    ...flags,
    '--random-seed=1',
    join(here, 'code-cache.cjs'),
    folder,
    cache,
    join(work, 'socket'),
  ];
  try {
    execFileSync(node, words, { stdio: ['ignore', 'ignore', 'pipe'], timeout: 60_000 });
  } catch {
    return;
  }
  tree.add(`${agentFolder}/agentd.cache`, { kind: 'file', mode: 0o644, content: readFileSync(cache) });
}

/** The agent's C library; for musl it is compiled with musl-gcc. */
function addLibrary(tree: FileTree, libc: Libc, work: string): string {
  let library = join(root, 'agentd/native/build/libhawser.so');
  if (libc === 'musl') {
    const folder = join(work, 'native');
    mkdirSync(folder, { recursive: true });
    library = join(folder, 'libhawser.so');
    execFileSync('make', ['-s', '-C', join(root, 'agentd/native'), 'CC=musl-gcc', `OUT=${folder}`]);
  }
  tree.copy(`${agentFolder}/native/build/libhawser.so`, library);
  return library;
}

function addKoffi(tree: FileTree, libc: Libc): string {
  const target = `${agentFolder}/node_modules`;
  for (const file of ['package.json', 'index.cjs', 'src/koffi/index.cjs', 'src/koffi/src/static.cjs'])
    if (existsSync(join(modules, 'koffi', file)))
      tree.copy(`${target}/koffi/${file}`, join(modules, 'koffi', file));
  const name = `@koromix/koffi-linux-${process.arch}`;
  const binary = `${libc === 'musl' ? 'musl' : 'linux'}_${process.arch}/koffi.node`;
  for (const file of ['package.json', 'index.js', binary])
    tree.copy(`${target}/${name}/${file}`, join(modules, name, file));
  return join(modules, name, binary);
}

/** One file of its JavaScript, and the binding of this libc. */
function addSerialport(tree: FileTree, libc: Libc): string {
  // Of the package only the binding is used; the rest takes its time to load.
  addBundled(tree, 'serialport', 'index.js', [
    "import { LinuxBinding } from '@serialport/bindings-cpp';",
    'export const SerialPort = { binding: LinuxBinding };',
  ]);
  const variant = process.arch === 'arm64' ? `armv8.${libc}` : libc;
  const file = `prebuilds/linux-${process.arch}/@serialport+bindings-cpp.${variant}.node`;
  const binding = join(modules, '@serialport/bindings-cpp', file);
  tree.copy(`${agentFolder}/node_modules/serialport/binding.node`, binding);
  return binding;
}

function addNodePty(tree: FileTree): string {
  const target = `${agentFolder}/node_modules/node-pty`;
  const source = join(modules, 'node-pty');
  const built = join(source, 'build/Release/pty.node');
  const binding = existsSync(built) ? built : join(source, `prebuilds/linux-${process.arch}/pty.node`);
  tree.copy(`${target}/package.json`, join(source, 'package.json'));
  tree.copy(`${target}/lib/utils.js`, join(source, 'lib/utils.js'));
  tree.copy(`${target}/build/Release/pty.node`, binding);
  return binding;
}

/** A package as one file, without what it needs of other packages lying about. */
function addBundled(tree: FileTree, name: string, main: string, source: readonly string[]): void {
  const { outputFiles } = buildSync({
    absWorkingDir: root,
    stdin: { contents: source.join('\n'), resolveDir: join(root, 'agentd') },
    bundle: true,
    write: false,
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    logLevel: 'error',
    // It searches the folders for what is known here, and takes any libc for glibc that is not Alpine's.
    alias: { 'node-gyp-build': join(here, 'own-binding.cjs') },
    external: ['./binding.node'],
    minifySyntax: true,
    minifyWhitespace: true,
  });
  const folder = `${agentFolder}/node_modules/${name}`;
  tree.text(`${folder}/package.json`, `${JSON.stringify({ name, main })}\n`);
  tree.add(`${folder}/${main}`, {
    kind: 'file',
    mode: 0o644,
    content: Buffer.from((outputFiles[0] as { contents: Uint8Array }).contents),
  });
}

/** Removes what a builder compiled. */
export function removeWork(work: string): void {
  rmSync(work, { recursive: true, force: true });
}
