import { closeSync, openSync, writeSync } from 'node:fs';
import type { FileTree, TreeNode } from './file-tree.js';
import { bytesOf } from './file-tree.js';

/** Block size of the archive's end, as GNU cpio pads; the kernel does not mind. */
const endAlignment = 512;

/** Mode bits of the file type (inode(7)). */
const typeBits = { directory: 0o040000, file: 0o100000, link: 0o120000, device: 0o020000 } as const;

/**
 * Writes a tree as a "newc" archive, the kernel's initramfs format
 * (Documentation/driver-api/early-userspace/buffer-format.rst). The same tree gives the same bytes:
 * entries are sorted, inode numbers count up, owner and times are 0.
 *
 * @returns bytes written
 */
export function writeCpio(tree: FileTree, path: string): number {
  const file = openSync(path, 'w');
  let written = 0;
  const put = (bytes: Buffer): void => {
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
    written += bytes.length;
  };
  try {
    let inode = 0;
    for (const [name, node] of tree.entries()) {
      const content = contentOf(node);
      put(padded(header(++inode, name.slice(1), node, content.length), 4));
      put(padded(content, 4));
    }
    put(padded(header(0, 'TRAILER!!!', undefined, 0), 4));
    const rest = (endAlignment - (written % endAlignment)) % endAlignment;
    put(Buffer.alloc(rest));
  } finally {
    closeSync(file);
  }
  return written;
}

function contentOf(node: TreeNode): Buffer {
  if (node.kind === 'file') return bytesOf(node.content);
  return Buffer.from(node.kind === 'link' ? node.target : '');
}

function header(inode: number, name: string, node: TreeNode | undefined, bytes: number): Buffer {
  const named = Buffer.from(`${name}\0`);
  const links = node?.kind === 'directory' ? 2 : 1;
  const [major, minor] = node?.kind === 'device' ? [node.major, node.minor] : [0, 0];
  // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
  const fields = [inode, modeOf(node), 0, 0, links, 0, bytes, 0, 0, major, minor, named.length, 0];
  const hex = fields.map((field) => field.toString(16).padStart(8, '0')).join('');
  return Buffer.concat([Buffer.from(`070701${hex}`), named]);
}

function modeOf(node: TreeNode | undefined): number {
  if (node === undefined) return 0;
  return typeBits[node.kind] | (node.kind === 'link' ? 0o777 : node.mode);
}

function padded(bytes: Buffer, alignment: number): Buffer {
  const rest = (alignment - (bytes.length % alignment)) % alignment;
  return rest === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(rest)]);
}
