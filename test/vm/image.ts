import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { buildImage } from '../../images/builder/build-image.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const kept = join(root, '.tap/vm');
const fixtures = join(root, 'test/fixtures');
const payload = join(root, 'test/vm/payload');

/** Files and folders that the image is made of, beside what is installed on this machine. */
const sources = [
  'images',
  'agentd/dist/hawser-agentd.cjs',
  'agentd/native/build/libhawser.so',
  'host-client/src',
  'protocol/src',
  'test/vm/payload',
  'test/vm/image.ts',
  'test/fixtures',
  'package-lock.json',
];

/** QEMU is there; elsewhere the tests of this folder are skipped, which CI does not let pass. */
export const skipWithoutQemu: string | false = ['qemu-system-x86_64', 'busybox'].every(isInstalled)
  ? false
  : 'needs qemu-system-x86_64 and busybox';

function isInstalled(program: string): boolean {
  return (process.env['PATH'] ?? '').split(':').some((folder) => existsSync(join(folder, program)));
}

/**
 * The image that the tests boot, with their programs in it, made once for all of them and kept
 * until a source changes. Several test processes may ask at once: the first to be ready stays.
 *
 * @returns its folder
 */
export function testImage(): string {
  const folder = join(kept, sourcesKey());
  if (existsSync(folder)) return folder;
  mkdirSync(kept, { recursive: true });
  const work = mkdtempSync(join(kept, 'work-'));
  try {
    const image = join(work, 'image');
    buildImage({
      out: image,
      disks: ['ext4', 'erofs'],
      add: {
        '/opt/test': programs(work),
        '/opt/hawser/test': bundles(work),
        '/etc/inittab': join(payload, 'inittab'),
        // The command hawser looks for its package's version two folders up.
        '/opt/package.json': join(root, 'host-client/package.json'),
      },
    });
    for (const old of readdirSync(kept))
      if (!old.startsWith('work-')) rmSync(join(kept, old), { recursive: true });
    renameSync(image, folder);
  } catch (error) {
    if (!existsSync(folder)) throw error; // another one was quicker
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return folder;
}

function sourcesKey(): string {
  const hash = createHash('sha256').update(process.version);
  const add = (path: string): void => {
    const stat = statSync(path);
    if (stat.isDirectory()) for (const name of readdirSync(path).toSorted()) add(join(path, name));
    else hash.update(`${path}\0${stat.size}\0`).update(readFileSync(path));
  };
  for (const source of sources) add(join(root, source));
  return hash.digest('hex').slice(0, 16);
}

/** Programs and files for the behaviour list, linked statically where they are of C. */
function programs(work: string): string {
  const folder = join(work, 'test');
  mkdirSync(folder);
  for (const name of ['die-of', 'print-strings', 'window-size']) {
    const target = join(folder, name);
    execFileSync('cc', ['-static', '-O1', '-s', '-o', target, join(fixtures, `${name}.c`)]);
  }
  for (const name of readdirSync(payload)) {
    if (name.endsWith('.ts')) continue;
    const target = join(folder, name);
    writeFileSync(target, readFileSync(join(payload, name)));
    chmodSync(target, statSync(join(payload, name)).mode & 0o777);
  }
  writeFileSync(join(folder, 'no-interpreter'), '#!/no/such/interpreter\n', { mode: 0o755 });
  writeFileSync(join(folder, 'no-format'), Buffer.from([1, 2, 3, 4]), { mode: 0o755 });
  writeFileSync(join(folder, 'plain'), 'x', { mode: 0o644 });
  return folder;
}

/** The host's library inside the guest, beside the agent so that they share koffi. */
function bundles(work: string): string {
  const folder = join(work, 'bundles');
  buildSync({
    absWorkingDir: root,
    entryPoints: { 'vsock-bridge': 'test/vm/payload/vsock-bridge.ts', hawser: 'host-client/src/cli/main.ts' },
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    conditions: ['@hawser/source'],
    external: ['koffi', 'serialport'],
    logLevel: 'error',
    banner: {
      js: "import { createRequire as bannerRequire } from 'node:module'; const require = bannerRequire(import.meta.url);",
    },
  });
  return folder;
}
