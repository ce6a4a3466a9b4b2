import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { FileContent, FileTree } from './file-tree.js';
import { bytesOf, sizeOf } from './file-tree.js';

export type DiskType = 'ext4' | 'erofs';

/** Fixed, so that the same tree gives the same disk. */
const uuid = '68617773-6572-4000-8000-000000000001';
const blockBytes = 4096;

/**
 * Writes a tree as a root disk. Device files are left out, as the guest's /dev is a devtmpfs.
 *
 * @param spareBytes room to write, of an ext4 disk
 * @param work an empty folder, the caller's
 */
export function writeDisk(
  tree: FileTree,
  type: DiskType,
  path: string,
  work: string,
  spareBytes: number,
): void {
  if (type === 'ext4') writeExt4(tree, path, work, spareBytes);
  else writeErofs(tree, path, work);
}

/**
 * mke2fs makes an empty one and debugfs puts in file after file: `mke2fs -d` takes them in the order
 * of the folder, and keeps the times at which this machine made them.
 */
function writeExt4(tree: FileTree, path: string, work: string, spareBytes: number): void {
  const entries = tree.entries().filter(([, node]) => node.kind !== 'device');
  const contents = entries.reduce(
    (sum, [, node]) => sum + (node.kind === 'file' ? Math.ceil(sizeOf(node.content) / blockBytes) + 1 : 1),
    0,
  );
  const inodes = entries.length + 2048;
  // Data, the inode table, the journal, and what the file system takes for itself.
  const bytes = contents * blockBytes * 1.02 + inodes * 256 + 16 * 2 ** 20 + spareBytes;
  const file = openSync(path, 'w');
  ftruncateSync(file, Math.ceil(bytes / 2 ** 20) * 2 ** 20);
  closeSync(file);
  const env = { ...process.env, E2FSPROGS_FAKE_TIME: '1', SOURCE_DATE_EPOCH: '1', TZ: 'UTC' };
  const options = [
    '-q',
    '-t',
    'ext4',
    '-b',
    String(blockBytes),
    '-m',
    '0',
    '-N',
    String(inodes),
    '-J',
    'size=4',
  ];
  const identity = [
    '-U',
    uuid,
    '-L',
    'hawser',
    '-E',
    `hash_seed=${uuid},root_owner=0:0,lazy_itable_init=0,nodiscard`,
  ];
  execFileSync('mke2fs', [...options, ...identity, path], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  const commands: string[] = [];
  let number = 0;
  for (const [name, node] of entries) {
    if (node.kind === 'directory') commands.push(`mkdir ${name}`);
    else if (node.kind === 'link') commands.push(`symlink ${name} ${node.target}`);
    else if (node.kind === 'file') commands.push(`write ${stage(node.content, work, number++)} ${name}`);
    if (node.kind === 'directory') commands.push(`sif ${name} mode 0${(0o040000 | node.mode).toString(8)}`);
    if (node.kind === 'file') commands.push(`sif ${name} mode 0${(0o100000 | node.mode).toString(8)}`);
  }
  for (const [name] of [['/'], ...entries])
    for (const time of ['atime', 'ctime', 'mtime', 'crtime']) commands.push(`sif ${name} ${time} @1`);
  const script = join(work, 'commands');
  writeFileSync(script, `${commands.join('\n')}\n`);
  // debugfs tells of failures on stderr and ends with 0 all the same; its first line there is its version.
  const { stderr, error } = spawnSync('debugfs', ['-w', '-f', script, path], { env, encoding: 'utf8' });
  if (error !== undefined) throw error;
  const trouble = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('debugfs 1.'));
  if (trouble.length > 0) throw new Error(`debugfs: ${trouble.slice(0, 5).join('; ')}`);
}

/** A file of this machine that has the content. */
function stage(content: FileContent, work: string, number: number): string {
  if (!Buffer.isBuffer(content)) return content.path;
  const path = join(work, `file-${number}`);
  writeFileSync(path, content);
  return path;
}

function writeErofs(tree: FileTree, path: string, work: string): void {
  const root = join(work, 'root');
  mkdirSync(root);
  const later: (() => void)[] = [];
  for (const [name, node] of tree.entries()) {
    const target = join(root, name);
    if (node.kind === 'directory') {
      mkdirSync(target, { mode: 0o755 });
      later.push(() => chmodSync(target, node.mode));
    } else if (node.kind === 'link') symlinkSync(node.target, target);
    else if (node.kind === 'file') {
      writeFileSync(target, bytesOf(node.content));
      chmodSync(target, node.mode);
    }
  }
  for (const change of later) change();
  const options = ['-T', '1', '-U', uuid, '--all-root'];
  execFileSync('mkfs.erofs', [...options, path, root], { stdio: ['ignore', 'ignore', 'pipe'] });
}
