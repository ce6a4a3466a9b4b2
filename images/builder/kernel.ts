import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** A kernel and the folder with its modules, `lib/modules/RELEASE` of its package. */
export interface Kernel {
  readonly image: string;
  readonly modules: string | undefined;
  /** As `uname -r` gives it. */
  readonly release: string;
}

/** Where downloads are kept: `$XDG_CACHE_HOME/hawser`. */
export function cacheFolder(): string {
  const base = process.env['XDG_CACHE_HOME'];
  return join(base === undefined || base === '' ? join(homedir(), '.cache') : base, 'hawser');
}

const architectures: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

/**
 * Debian's kernel for virtual machines: the package that `linux-image-cloud-ARCH` depends on,
 * downloaded and unpacked into the cache, not installed. Needs no root.
 *
 * @throws Error where there is no apt, or no network and nothing in the cache
 */
export function debianKernel(cache = cacheFolder(), log: (text: string) => void = () => {}): Kernel {
  const architecture = architectures[process.arch];
  if (architecture === undefined) throw new Error(`Debian has no cloud kernel for ${process.arch}`);
  const kernels = join(cache, 'kernel');
  mkdirSync(kernels, { recursive: true });
  let name: string | undefined;
  try {
    name = kernelPackage(`linux-image-cloud-${architecture}`);
  } catch (error) {
    const kept = readdirSync(kernels)
      .filter((each) => each.startsWith('linux-image-'))
      .toSorted()
      .at(-1);
    if (kept === undefined) throw error;
    name = kept;
  }
  const folder = join(kernels, name);
  if (!existsSync(folder)) download(name, folder, log);
  const release = readdirSync(join(folder, 'boot'))
    .find((file) => file.startsWith('vmlinuz-'))
    ?.slice('vmlinuz-'.length);
  if (release === undefined) throw new Error(`${folder}/boot has no vmlinuz`);
  return {
    image: join(folder, 'boot', `vmlinuz-${release}`),
    modules: join(folder, 'lib/modules', release),
    release,
  };
}

/** The package that the meta package depends on, e.g. `linux-image-6.1.0-56-cloud-amd64`. */
function kernelPackage(meta: string): string {
  const text = execFileSync('apt-cache', ['depends', '--important', meta], { encoding: 'utf8' });
  const name = /Depends: (linux-image-\S+)/.exec(text)?.[1];
  if (name === undefined) throw new Error(`apt-cache depends ${meta} names no kernel: ${text}`);
  return name;
}

function download(name: string, folder: string, log: (text: string) => void): void {
  log(`downloading ${name}`);
  const work = mkdtempSync(`${folder}.`);
  try {
    execFileSync('apt-get', ['download', '-q', name], { cwd: work, stdio: ['ignore', 'ignore', 'pipe'] });
    const archive = readdirSync(work).find((file) => file.endsWith('.deb'));
    if (archive === undefined) throw new Error(`apt-get download ${name} left no file`);
    const unpacked = join(work, 'unpacked');
    execFileSync('dpkg-deb', ['--extract', join(work, archive), unpacked]);
    const usr = join(unpacked, 'usr/lib/modules');
    const modules = existsSync(usr) ? join(unpacked, 'usr') : unpacked;
    execFileSync('depmod', ['-b', modules, readdirSync(join(modules, 'lib/modules'))[0] as string]);
    if (modules !== unpacked) renameSync(join(modules, 'lib'), join(unpacked, 'lib'));
    // Another builder may have been quicker: the first one stays.
    if (!existsSync(folder)) renameSync(unpacked, folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
