import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** What of an ELF file decides which other files it needs to run (elf(5)). */
export interface ElfNeeds {
  readonly is64: boolean;
  readonly machine: number;
  /** The dynamic linker, e.g. `/lib64/ld-linux-x86-64.so.2`; none in a static program or a library. */
  readonly interpreter: string | undefined;
  /** DT_NEEDED names. */
  readonly needed: readonly string[];
  /** DT_RUNPATH or DT_RPATH, with `$ORIGIN` as it is. */
  readonly runPath: readonly string[];
}

const programInterpreter = 3;
const programLoad = 1;
const programDynamic = 2;
const tagNeeded = 1n;
const tagStringTable = 5n;
const tagRunPaths: ReadonlySet<bigint> = new Set([15n, 29n]);

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: bigint;
  readonly bytes: number;
}

/** @throws Error for what is no 64-bit little-endian ELF file. */
export function readElf(path: string): ElfNeeds {
  const file = openSync(path, 'r');
  const read = (offset: number, bytes: number): Buffer => {
    const buffer = Buffer.alloc(bytes);
    const count = readSync(file, buffer, 0, bytes, offset);
    return buffer.subarray(0, count);
  };
  try {
    const head = read(0, 64);
    if (head.length < 64 || head.readUInt32BE(0) !== 0x7f454c46 || head[4] !== 2 || head[5] !== 1)
      throw new Error(`${path} is no 64-bit little-endian ELF file`);
    const segments = readSegments(head, read);
    const interpreterAt = segments.find(({ type }) => type === programInterpreter);
    const interpreter =
      interpreterAt === undefined ? undefined : textAt(read(interpreterAt.offset, interpreterAt.bytes), 0);
    return { is64: true, machine: head.readUInt16LE(18), interpreter, ...readDynamic(segments, read) };
  } finally {
    closeSync(file);
  }
}

function readSegments(head: Buffer, read: (offset: number, bytes: number) => Buffer): Segment[] {
  const [at, size, count] = [Number(head.readBigUInt64LE(32)), head.readUInt16LE(54), head.readUInt16LE(56)];
  const table = read(at, size * count);
  return Array.from({ length: count }, (_, index) => {
    const entry = table.subarray(index * size);
    return {
      type: entry.readUInt32LE(0),
      offset: Number(entry.readBigUInt64LE(8)),
      address: entry.readBigUInt64LE(16),
      bytes: Number(entry.readBigUInt64LE(32)),
    };
  });
}

function readDynamic(
  segments: readonly Segment[],
  read: (offset: number, bytes: number) => Buffer,
): { needed: string[]; runPath: string[] } {
  const dynamic = segments.find(({ type }) => type === programDynamic);
  if (dynamic === undefined) return { needed: [], runPath: [] };
  const table = read(dynamic.offset, dynamic.bytes);
  const entries: [tag: bigint, value: bigint][] = [];
  for (let at = 0; at + 16 <= table.length; at += 16)
    entries.push([table.readBigInt64LE(at), table.readBigUInt64LE(at + 8)]);
  const stringsAddress = entries.find(([tag]) => tag === tagStringTable)?.[1] ?? 0n;
  const holder = segments.find(
    ({ type, address, bytes }) =>
      type === programLoad && stringsAddress >= address && stringsAddress < address + BigInt(bytes),
  );
  if (holder === undefined) return { needed: [], runPath: [] };
  const stringsAt = holder.offset + Number(stringsAddress - holder.address);
  const text = (value: bigint): string => textAt(read(stringsAt + Number(value), 4096), 0);
  return {
    needed: entries.filter(([tag]) => tag === tagNeeded).map(([, value]) => text(value)),
    runPath: entries.filter(([tag]) => tagRunPaths.has(tag)).flatMap(([, value]) => text(value).split(':')),
  };
}

function textAt(bytes: Buffer, at: number): string {
  const end = bytes.indexOf(0, at);
  return bytes.toString('latin1', at, end < 0 ? bytes.length : end);
}

/** Where ld.so looks on this machine beside ld.so.conf (ld.so(8)), for glibc's and for musl's programs. */
const standardFolders = ['/lib64', '/usr/lib64', '/lib', '/usr/lib', '/usr/local/lib'];

/**
 * The shared libraries and the dynamic linker that the given programs and libraries need, all told.
 *
 * @returns by the path that they must have in the guest (the folder of the library, the name that is
 *   asked for), the file on this machine
 * @throws Error naming the library that is not found, and who needs it
 */
export function sharedLibraries(files: readonly string[]): Map<string, string> {
  const found = new Map<string, string>();
  const folders = [...configuredFolders(), ...standardFolders];
  const seen = new Set<string>();
  const visit = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    const elf = readElf(file);
    if (elf.interpreter !== undefined) {
      found.set(elf.interpreter, realpathSync(elf.interpreter));
      seen.add(realpathSync(elf.interpreter));
    }
    const own = elf.runPath.map((folder) => folder.replace(/\$\{?ORIGIN\}?/, dirname(file)));
    for (const name of elf.needed) {
      // The dynamic linker is there already, under its own path.
      if ([...found.keys()].some((path) => basename(path) === name)) continue;
      const path = [...own, ...folders].map((folder) => join(folder, name)).find((each) => fits(each, elf));
      if (path === undefined) throw new Error(`${name}, which ${file} needs, was not found`);
      found.set(path, realpathSync(path));
      visit(realpathSync(path));
    }
  };
  for (const file of files) visit(realpathSync(file));
  return found;
}

function fits(path: string, wanted: ElfNeeds): boolean {
  if (!existsSync(path)) return false;
  try {
    return readElf(path).machine === wanted.machine;
  } catch {
    return false; // a linker script, or a library of another word size
  }
}

/** Folders of ld.so.conf, its includes taken as Debian and others have them. */
function configuredFolders(file = '/etc/ld.so.conf', depth = 0): string[] {
  if (!existsSync(file) || depth > 3) return [];
  const folders: string[] = [];
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    const [word = '', ...rest] = line.replace(/#.*/, '').trim().split(/\s+/);
    if (word === 'include') for (const pattern of rest) folders.push(...included(pattern, depth));
    else if (word.startsWith('/')) folders.push(word);
  }
  return folders;
}

function included(pattern: string, depth: number): string[] {
  const folder = dirname(pattern);
  if (!existsSync(folder)) return [];
  const ends = basename(pattern).replace('*', '');
  return readdirSync(folder)
    .filter((name) => name.endsWith(ends))
    .toSorted()
    .flatMap((name) => configuredFolders(join(folder, name), depth + 1));
}
