import type { FileTree, TreeNode } from './file-tree.js';
import { bytesOf } from './file-tree.js';

const blockBytes = 512;
const typeFlags = { file: '0', link: '2', device: '3', directory: '5' } as const;

/**
 * A tree as a POSIX "ustar" archive: an image layer. The same tree gives the same bytes, as with
 * `writeCpio`. `/dev` is the container's own, so device files are left out.
 *
 * @throws Error for a name that ustar cannot hold
 */
export function tarOf(tree: FileTree): Buffer {
  const parts: Buffer[] = [];
  for (const [path, node] of tree.entries()) {
    if (node.kind === 'device') continue;
    const content = node.kind === 'file' ? bytesOf(node.content) : Buffer.alloc(0);
    parts.push(header(path.slice(1), node, content.length), content);
    const rest = (blockBytes - (content.length % blockBytes)) % blockBytes;
    if (rest > 0) parts.push(Buffer.alloc(rest));
  }
  parts.push(Buffer.alloc(2 * blockBytes));
  return Buffer.concat(parts);
}

/** POSIX.1-2017, pax, "ustar Interchange Format". */
function header(path: string, node: TreeNode, bytes: number): Buffer {
  const block = Buffer.alloc(blockBytes);
  const name = node.kind === 'directory' ? `${path}/` : path;
  const split = name.length <= 100 ? -1 : name.lastIndexOf('/', 155);
  if (name.length > 100 && (split < 0 || name.length - split - 1 > 100))
    throw new Error(`${path} is too long for ustar`);
  block.write(name.slice(split + 1), 0, 'latin1');
  if (split >= 0) block.write(name.slice(0, split), 345, 'latin1');
  const octal = (value: number, at: number, digits: number): void =>
    void block.write(`${value.toString(8).padStart(digits, '0')}\0`, at, 'latin1');
  octal(node.kind === 'link' ? 0o777 : node.mode, 100, 7);
  octal(0, 108, 7);
  octal(0, 116, 7);
  octal(bytes, 124, 11);
  octal(0, 136, 11);
  block.write(typeFlags[node.kind], 156, 'latin1');
  if (node.kind === 'link') block.write(node.target, 157, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  block.write('root', 265, 'latin1');
  block.write('root', 297, 'latin1');
  block.fill(' ', 148, 156);
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    6,
  );
  return block;
}

/** An archive without its end, so that another may follow. */
export function tarEntries(archive: Buffer): Buffer {
  let at = 0;
  while (at + blockBytes <= archive.length && archive[at] !== 0) {
    const bytes = Number.parseInt(archive.toString('latin1', at + 124, at + 136), 8);
    at += blockBytes + Math.ceil(bytes / blockBytes) * blockBytes;
  }
  return archive.subarray(0, at);
}
