import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { addAgent, agentProgram, removeWork } from './agent.js';
import { writeCpio } from './cpio.js';
import { sharedLibraries } from './elf.js';
import { FileTree } from './file-tree.js';
import type { Kernel } from './kernel.js';
import { cacheFolder, debianKernel } from './kernel.js';
import { modulesInOrder } from './modules.js';
import { addUserland } from './userland.js';

const here = fileURLToPath(new URL('..', import.meta.url));

export interface ImageOptions {
  /** Folder that the image is written to; made where it does not exist. */
  readonly out: string;
  /** Node for the guest. Default: the one that runs this. */
  readonly node?: string | undefined;
  /** A kernel instead of Debian's. */
  readonly kernel?: string | undefined;
  /** The modules of that kernel, a `lib/modules/RELEASE` folder; without it, none are put in. */
  readonly modules?: string | undefined;
  readonly busybox?: string | undefined;
  /** Where downloads are kept. Default: `$XDG_CACHE_HOME/hawser`. */
  readonly cache?: string | undefined;
  /** What agentd is configured with in the guest, `/etc/hawser/agentd.json`. */
  readonly config?: Readonly<Record<string, unknown>> | undefined;
  /** Told what is being done. */
  readonly log?: ((text: string) => void) | undefined;
}

/** What `DIR/image.json` says; the files lie beside it. */
export interface ImageManifest {
  readonly format: 1;
  readonly arch: string;
  readonly kernel: string;
  readonly kernelRelease: string;
  readonly initramfs: string;
  readonly nodeVersion: string;
  /** Bytes and SHA-256 of each file. */
  readonly files: Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>;
}

/** What the lines and disks need, where the kernel has it as modules. In this order for the log's sake only. */
export const lineModules = [
  'virtio_mmio',
  'virtio_pci',
  'virtio_console',
  'vmw_vsock_virtio_transport',
  'vsock_loopback',
  'virtio_blk',
  'virtio_rng',
] as const;

const defaultConfig = { listen: ['virtio:agent'] };

/**
 * Makes a bootable image: a kernel, and an initramfs in which agentd is the first process.
 *
 * The same inputs give the same bytes.
 */
export function buildImage(options: ImageOptions): ImageManifest {
  const log = options.log ?? ((): void => {});
  mkdirSync(options.out, { recursive: true });
  const work = mkdtempSync(join(tmpdir(), 'hawser-image-'));
  try {
    const kernel = chosenKernel(options, log);
    const tree = new FileTree();
    const node = addSystem(tree, options, work);
    addModules(tree, kernel, log);
    replace(join(options.out, 'vmlinuz'), (path) => copyFileSync(kernel.image, path));
    replace(join(options.out, 'initramfs.cpio'), (path) => writeCpio(tree, path));
    const manifest: ImageManifest = {
      format: 1,
      arch: process.arch,
      kernel: 'vmlinuz',
      kernelRelease: kernel.release,
      initramfs: 'initramfs.cpio',
      nodeVersion: node,
      files: Object.fromEntries(
        ['vmlinuz', 'initramfs.cpio'].map((name) => [name, described(options.out, name)]),
      ),
    };
    writeFileSync(join(options.out, 'image.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    return manifest;
  } finally {
    removeWork(work);
  }
}

function chosenKernel(options: ImageOptions, log: (text: string) => void): Kernel {
  if (options.kernel === undefined) return debianKernel(options.cache ?? cacheFolder(), log);
  const release = options.modules === undefined ? 'unknown' : basename(options.modules);
  return { image: options.kernel, modules: options.modules, release };
}

/** User land, Node, the agent and /init. @returns Node's version */
function addSystem(tree: FileTree, options: ImageOptions, work: string): string {
  addUserland(tree, options.busybox ?? findProgram('busybox'));
  const native = addAgent(tree, { libc: 'glibc', work });
  const node = options.node ?? process.execPath;
  const version = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
  const stripped = join(work, 'node');
  copyFileSync(node, stripped);
  strip(stripped);
  tree.copy('/usr/bin/node', stripped);
  for (const [path, file] of sharedLibraries([node, ...native])) tree.copy(path, file);
  tree.copy('/init', compileInit(work));
  tree.text('/etc/hawser/agentd.json', `${JSON.stringify(options.config ?? defaultConfig)}\n`);
  return version;
}

/** Debug symbols are of no use in a guest, and take a tenth of Node. Without binutils they stay. */
function strip(path: string): void {
  try {
    execFileSync('strip', [path], { stdio: 'ignore' });
  } catch {
    // Larger, and right all the same.
  }
}

function compileInit(work: string): string {
  const program = join(work, 'init');
  const flags = [
    '-static',
    '-Os',
    '-s',
    '-Wall',
    '-Wextra',
    '-Werror',
    '-o',
    program,
    join(here, 'init/init.c'),
  ];
  try {
    execFileSync('musl-gcc', flags, { stdio: 'pipe' });
  } catch {
    execFileSync('cc', flags, { stdio: ['ignore', 'ignore', 'pipe'] });
  }
  return program;
}

function addModules(tree: FileTree, kernel: Kernel, log: (text: string) => void): void {
  const { modules } = kernel;
  const files =
    modules === undefined
      ? []
      : modulesInOrder(modules, lineModules, (name) => log(`the kernel has no ${name}`));
  for (const file of files)
    tree.copy(`/lib/modules/${kernel.release}/${file}`, join(modules as string, file));
  const flags = JSON.parse(readFileSync(join(here, '../agentd/node-flags.json'), 'utf8')) as string[];
  const command = ['/usr/bin/node', ...flags, agentProgram, '--config', '/etc/hawser/agentd.json'];
  const items = [
    ...files.map((file) => `module /lib/modules/${kernel.release}/${file}`),
    'env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    'env HOME=/root',
    ...command.map((word) => `exec ${word}`),
  ];
  tree.text('/etc/hawser/init', `${items.join('\n')}\n`);
}

export function findProgram(name: string): string {
  for (const folder of (process.env['PATH'] ?? '').split(':')) {
    const path = join(folder, name);
    if (statSync(path, { throwIfNoEntry: false })?.isFile() === true) return path;
  }
  throw new Error(`${name} was not found in PATH: install Debian's package busybox-static, or give its path`);
}

/** Whoever reads the file has the old one whole, or the new one whole. */
export function replace(path: string, write: (path: string) => void): void {
  write(`${path}.new`);
  renameSync(`${path}.new`, path);
}

export function described(folder: string, name: string): { bytes: number; sha256: string } {
  const bytes = readFileSync(join(folder, name));
  return { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}
