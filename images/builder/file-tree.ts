import { lstatSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** One entry of a root file system. Everything belongs to root; `mode` is the permission bits only. */
export type TreeNode =
  | { readonly kind: 'directory'; readonly mode: number }
  | { readonly kind: 'file'; readonly mode: number; readonly content: FileContent }
  | { readonly kind: 'link'; readonly target: string }
  | { readonly kind: 'device'; readonly mode: number; readonly major: number; readonly minor: number };

/** Bytes, or the file on this machine that has them. */
export type FileContent = Buffer | { readonly path: string };

/** A root file system in memory: what goes into a cpio archive, a tar layer or a disk, in one order. */
export class FileTree {
  readonly #nodes = new Map<string, TreeNode>();

  /** Paths are absolute, without a trailing slash. Folders above are made with mode 0755. */
  add(path: string, node: TreeNode): void {
    if (!/^(\/[^/\0]+)+$/.test(path))
      throw new Error(`${JSON.stringify(path)} is no absolute path of a file`);
    const parent = path.slice(0, path.lastIndexOf('/'));
    if (parent !== '' && !this.#nodes.has(parent)) this.directory(parent);
    this.#nodes.set(path, node);
  }

  directory(path: string, mode = 0o755): void {
    if (this.#nodes.get(path)?.kind !== 'directory' || mode !== 0o755)
      this.add(path, { kind: 'directory', mode });
  }

  text(path: string, text: string, mode = 0o644): void {
    this.add(path, { kind: 'file', mode, content: Buffer.from(text) });
  }

  /** A copy of a file of this machine; a program keeps its execute bits. */
  copy(path: string, from: string): void {
    const mode = (statSync(from).mode & 0o111) === 0 ? 0o644 : 0o755;
    this.add(path, { kind: 'file', mode, content: { path: from } });
  }

  link(path: string, target: string): void {
    this.add(path, { kind: 'link', target });
  }

  device(path: string, mode: number, major: number, minor: number): void {
    this.add(path, { kind: 'device', mode, major, minor });
  }

  /** Everything below a folder of this machine; only files, folders and symbolic links. */
  copyFolder(path: string, from: string): void {
    for (const name of readdirSync(from).toSorted()) {
      const source = join(from, name);
      const stat = lstatSync(source);
      const target = `${path === '/' ? '' : path}/${name}`;
      if (stat.isDirectory()) {
        this.directory(target, stat.mode & 0o7777);
        this.copyFolder(target, source);
      } else if (stat.isSymbolicLink()) this.link(target, readlinkSync(source));
      else if (stat.isFile())
        this.add(target, { kind: 'file', mode: stat.mode & 0o7777, content: { path: source } });
    }
  }

  has(path: string): boolean {
    return this.#nodes.has(path);
  }

  /** By path, folders before what is in them. */
  entries(): [path: string, node: TreeNode][] {
    return [...this.#nodes].toSorted(([a], [b]) => (a < b ? -1 : 1));
  }
}

export function bytesOf(content: FileContent): Buffer {
  return Buffer.isBuffer(content) ? content : readFileSync(content.path);
}

export function sizeOf(content: FileContent): number {
  return Buffer.isBuffer(content) ? content.length : statSync(content.path).size;
}
