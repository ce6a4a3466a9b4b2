import { execFileSync } from 'node:child_process';
import type { FileTree } from './file-tree.js';

const folders: readonly (readonly [path: string, mode: number])[] = [
  ['/dev', 0o755],
  ['/etc', 0o755],
  ['/mnt', 0o755],
  ['/proc', 0o555],
  ['/root', 0o700],
  ['/run', 0o755],
  ['/sys', 0o555],
  ['/tmp', 0o1777],
  ['/var', 0o755],
  ['/var/tmp', 0o1777],
];

/** busybox under all its names, and the few files that programs expect of a system. */
export function addUserland(tree: FileTree, busybox: string): void {
  for (const [path, mode] of folders) tree.directory(path, mode);
  tree.device('/dev/console', 0o600, 5, 1);
  tree.device('/dev/null', 0o666, 1, 3);
  tree.copy('/bin/busybox', busybox);
  const names = execFileSync(busybox, ['--list-full'], { encoding: 'utf8' }).split('\n').filter(Boolean);
  for (const name of names) if (!tree.has(`/${name}`)) tree.link(`/${name}`, '/bin/busybox');
  // Programs name these, and busybox's own list has them elsewhere.
  for (const name of ['/bin/env', '/usr/bin/sh']) if (!tree.has(name)) tree.link(name, '/bin/busybox');
  tree.text('/etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n');
  tree.text('/etc/group', 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n');
  tree.text('/etc/hosts', '127.0.0.1 localhost\n::1 localhost\n');
  tree.text('/etc/nsswitch.conf', 'passwd: files\ngroup: files\nhosts: files dns\n');
}
