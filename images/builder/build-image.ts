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
import { addAgent, addCodeCache, agentProgram, removeWork } from './agent.js';
import { writeCpio } from './cpio.js';
import type { DiskType } from './disk.js';
import { writeDisk } from './disk.js';
import { sharedLibraries } from './elf.js';
import { FileTree } from './file-tree.js';
import type { Kernel } from './kernel.js';
import { cacheFolder, debianKernel } from './kernel.js';
import { modulesInOrder } from './modules.js';
import { addUserland } from './userland.js';
import { extractVmlinux } from './vmlinux.js';

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
  /** Root disks to make beside the initramfs. Default: none. */
  readonly disks?: readonly DiskType[] | undefined;
  /** Puts `vmlinux`, the ELF kernel that Firecracker and Cloud Hypervisor take, beside `vmlinuz`. */
  readonly vmlinux?: boolean | undefined;
  /** Room to write on an ext4 disk, bytes. Default: 64 MiB. */
  readonly diskSpareBytes?: number | undefined;
  /** Further files of the guest: by their path there, the file or folder of this machine. */
  readonly add?: Readonly<Record<string, string>> | undefined;
  /** Told what is being done. */
  readonly log?: ((text: string) => void) | undefined;
}

/** What `DIR/image.json` says; the files lie beside it. */
export interface ImageManifest {
  readonly format: 1;
  readonly arch: string;
  readonly kernel: string;
  readonly kernelRelease: string;
  /** With everything in it. */
  readonly initramfs: string;
  /** Root disks, each with the small initramfs that goes with it; to be the guest's first disk. */
  readonly disks: Partial<Record<DiskType, { readonly disk: string; readonly initramfs: string }>>;
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

/** Enough to find the root disk. */
const diskModules = ['virtio_mmio', 'virtio_pci', 'virtio_blk'] as const;

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
    const init = compileInit(work);
    const system = new FileTree();
    const nodeVersion = addSystem(system, options, work);
    for (const [path, from] of Object.entries(options.add ?? {})) addFrom(system, path, from);
    const command = ['/usr/bin/node', ...nodeFlags(), agentProgram, '--config', '/etc/hawser/agentd.json'];
    system.text('/etc/hawser/init', initList(addModules(system, kernel, lineModules, log), command));
    const names = ['vmlinuz', 'initramfs.cpio'];
    replace(join(options.out, 'vmlinuz'), (path) => copyFileSync(kernel.image, path));
    if (options.vmlinux === true) {
      const kernelImage = extractVmlinux(readFileSync(kernel.image));
      replace(join(options.out, 'vmlinux'), (path) => writeFileSync(path, kernelImage));
      names.push('vmlinux');
    }
    const disks: ImageManifest['disks'] = {};
    for (const type of options.disks ?? []) {
      const folder = join(work, type);
      mkdirSync(folder);
      const [disk, initramfs] = [`root.${type}`, `initramfs-${type}.cpio`];
      const spareBytes = options.diskSpareBytes ?? 64 * 2 ** 20;
      replace(join(options.out, disk), (path) => writeDisk(system, type, path, folder, spareBytes));
      const small = diskInitramfs(init, kernel, type, log);
      replace(join(options.out, initramfs), (path) => writeCpio(small, path));
      disks[type] = { disk, initramfs };
      names.push(disk, initramfs);
    }
    system.copy('/init', init);
    replace(join(options.out, 'initramfs.cpio'), (path) => writeCpio(system, path));
    const manifest: ImageManifest = {
      format: 1,
      arch: process.arch,
      kernel: 'vmlinuz',
      kernelRelease: kernel.release,
      initramfs: 'initramfs.cpio',
      disks,
      nodeVersion,
      files: Object.fromEntries(names.map((name) => [name, described(options.out, name)])),
    };
    writeFileSync(join(options.out, 'image.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    return manifest;
  } finally {
    removeWork(work);
  }
}

function addFrom(tree: FileTree, path: string, from: string): void {
  if (!statSync(from).isDirectory()) tree.copy(path, from);
  else {
    tree.directory(path);
    tree.copyFolder(path, from);
  }
}

export function chosenKernel(
  options: Pick<ImageOptions, 'kernel' | 'modules' | 'cache'>,
  log: (text: string) => void,
): Kernel {
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
  addCodeCache(tree, node, nodeFlags(), work);
  for (const [path, file] of sharedLibraries([node, ...native])) tree.copy(path, file);
  tree.text('/etc/hawser/agentd.json', `${JSON.stringify(options.config ?? defaultConfig)}\n`);
  return version;
}

/** Debug symbols are of no use in a guest, and take a tenth of Node. Without binutils they stay. */
export function strip(path: string): void {
  try {
    execFileSync('strip', [path], { stdio: 'ignore' });
  } catch {
    // Larger, and right all the same.
  }
}

export function compileInit(work: string): string {
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

/** @returns where the modules are in the guest, in the order in which they are inserted */
export function addModules(
  tree: FileTree,
  kernel: Kernel,
  wanted: readonly string[],
  log: (text: string) => void,
  folder = '/lib/modules',
): string[] {
  const { modules, release } = kernel;
  if (modules === undefined) return [];
  const files = modulesInOrder(modules, wanted, (name) => log(`the kernel has no ${name}`));
  return files.map((file) => {
    const path = `${folder}/${release}/${file}`;
    tree.copy(path, join(modules, file));
    return path;
  });
}

/** Finds the disk, and goes on with the disk's own list. */
function diskInitramfs(init: string, kernel: Kernel, type: DiskType, log: (text: string) => void): FileTree {
  const tree = new FileTree();
  for (const folder of ['/dev', '/proc', '/sys', '/newroot']) tree.directory(folder);
  tree.device('/dev/console', 0o600, 5, 1);
  tree.copy('/init', init);
  const first = addModules(tree, kernel, [...diskModules, type], log);
  const items = [...first.map((path) => `module ${path}`), `root /dev/vda ${type} ro`];
  tree.text('/etc/hawser/init', `${items.join('\n')}\n`);
  return tree;
}

/** How the memory of Node is kept small (docs/performance.md). */
export function nodeFlags(): string[] {
  return JSON.parse(readFileSync(join(here, '../agentd/node-flags.json'), 'utf8')) as string[];
}

/** What /init does, item by item (`images/init/init.c`). */
export function initList(modules: readonly string[], command: readonly string[]): string {
  const items = [
    ...modules.map((path) => `module ${path}`),
    'env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    'env HOME=/root',
    ...command.map((word) => `exec ${word}`),
  ];
  return `${items.join('\n')}\n`;
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
