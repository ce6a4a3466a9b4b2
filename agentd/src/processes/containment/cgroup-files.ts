import { EMFILE, ENFILE, ENOENT, systemCallError } from '../../ffi/errno.js';
import * as native from '../../ffi/native.js';

const buffer = Buffer.allocUnsafeSlow(16 * 1024);
const names = new Map<string, Buffer>();
const atCwd = -100; // AT_FDCWD

function terminated(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}

/** File names recur; the text of a path does not. */
function nameBytes(name: string): Buffer {
  let bytes = names.get(name);
  if (bytes === undefined) names.set(name, (bytes = terminated(name)));
  return bytes;
}

/** Is given up when there is no other descriptor: what a command's end needs, or its being killed, must not fail for that. */
let reserve = -1;

function keepReserve(directory: number): void {
  if (reserve < 0) reserve = native.openAt(directory, nameBytes('.'));
}

function insist(call: () => number): number {
  const result = call();
  if ((result !== -EMFILE && result !== -ENFILE) || reserve < 0) return result;
  native.close(reserve);
  reserve = -1;
  return call();
}

/** The directory of a cgroup, held open: its number places children in it, and its files are found through it. */
export class CgroupDirectory {
  readonly path: string;
  /** In its parent. */
  readonly name: string;
  readonly #parent: CgroupDirectory | undefined;
  /** -1 at rest. */
  #fd: number;

  private constructor(fd: number, parent: CgroupDirectory | undefined, name: string) {
    this.path = parent === undefined ? name : `${parent.path}/${name}`;
    this.#fd = fd;
    this.#parent = parent;
    this.name = name;
  }

  /** @throws HawserError `system_call_failed` with the errno. */
  static open(path: string): CgroupDirectory {
    const directory = new CgroupDirectory(opened(atCwd, path, path, 0), undefined, path);
    keepReserve(directory.fd);
    return directory;
  }

  /** @throws HawserError `system_call_failed`, `EEXIST` where it is there. */
  make(name: string): CgroupDirectory {
    return new CgroupDirectory(opened(this.fd, name, `${this.path}/${name}`, 1), this, name);
  }

  /** At rest, it is opened for this. @throws HawserError `system_call_failed` with the errno. */
  get fd(): number {
    const parent = this.#parent;
    if (this.#fd < 0 && parent !== undefined) this.#fd = opened(parent.fd, this.name, this.path, 0);
    return this.#fd;
  }

  /** Closes it until its number is needed again; its files are found through its parent, which must stay open. */
  rest(): void {
    if (this.#fd >= 0) native.close(this.#fd);
    this.#fd = -1;
    if (this.#parent !== undefined) keepReserve(this.#parent.#fd);
  }

  /** False while there are processes in it. One that is not there is removed. */
  remove(name: string): boolean {
    return native.cgroupRemove(this.fd, terminated(name)) === 0;
  }

  /** @returns a descriptor of one of its files, to read, or a negative errno. */
  openFile(file: string): number {
    return insist(() => native.openAt(this.#from, this.#pathOf(file)));
  }

  /** `undefined` where there is no such file. */
  read(file: string): string | undefined {
    const bytes = insist(() => native.readAt(this.#from, this.#pathOf(file), buffer, buffer.length));
    if (bytes === -ENOENT) return undefined;
    if (bytes < 0) throw systemCallError('read', bytes, `${this.path}/${file}`);
    return buffer.toString('latin1', 0, bytes);
  }

  /** The words of a file that lists some. */
  words(file: string): string[] {
    return (this.read(file) ?? '').split(/\s+/).filter((word) => word !== '');
  }

  /** The value behind a name in a file of `name value` lines; `undefined` without the file or the line. */
  keyed(file: string, key: string): number | undefined {
    const text = this.read(file);
    const line = text?.split('\n').find((candidate) => candidate.startsWith(`${key} `));
    return line === undefined ? undefined : Number(line.slice(key.length + 1));
  }

  /** The number that is all of a file. */
  number(file: string): number | undefined {
    const text = this.read(file)?.trim();
    return text === undefined || !/^\d+$/.test(text) ? undefined : Number(text);
  }

  /** @returns 0, or a negative errno. */
  write(file: string, text: string): number {
    const bytes = Buffer.from(text);
    const result = insist(() => native.writeAt(this.#from, this.#pathOf(file), bytes, bytes.length));
    keepReserve(this.#from);
    return Math.min(0, result);
  }

  get #from(): number {
    return this.#fd < 0 && this.#parent !== undefined ? this.#parent.fd : this.#fd;
  }

  #pathOf(file: string): Buffer {
    return this.#fd < 0 ? terminated(`${this.name}/${file}`) : nameBytes(file);
  }
}

function opened(parent: number, name: string, path: string, make: 0 | 1): number {
  const fd = native.openDirectory(parent, terminated(name), make);
  if (fd < 0) throw systemCallError(make === 1 ? 'mkdir' : 'open', fd, path);
  return fd;
}
