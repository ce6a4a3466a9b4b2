import { ENOENT, systemCallError } from '../../ffi/errno.js';
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

/** The directory of a cgroup, held open: its number places children in it, and its files are found through it. */
export class CgroupDirectory {
  readonly fd: number;
  readonly path: string;

  private constructor(fd: number, path: string) {
    this.fd = fd;
    this.path = path;
  }

  /** @throws HawserError `system_call_failed` with the errno. */
  static open(path: string): CgroupDirectory {
    return CgroupDirectory.#opened(atCwd, path, path, 0);
  }

  /** @throws HawserError `system_call_failed`, `EEXIST` where it is there. */
  make(name: string): CgroupDirectory {
    return CgroupDirectory.#opened(this.fd, name, `${this.path}/${name}`, 1);
  }

  /** One of its children. @throws HawserError `system_call_failed` with the errno. */
  child(name: string): CgroupDirectory {
    return CgroupDirectory.#opened(this.fd, name, `${this.path}/${name}`, 0);
  }

  static #opened(parent: number, name: string, path: string, make: 0 | 1): CgroupDirectory {
    const fd = native.openDirectory(parent, terminated(name), make);
    if (fd < 0) throw systemCallError(make === 1 ? 'mkdir' : 'open', fd, path);
    return new CgroupDirectory(fd, path);
  }

  /** False while there are processes in it. One that is not there is removed. */
  remove(name: string): boolean {
    return native.cgroupRemove(this.fd, terminated(name)) === 0;
  }

  /** @returns a descriptor of one of its files, to read. @throws HawserError `system_call_failed`. */
  openFile(file: string): number {
    const fd = native.openAt(this.fd, nameBytes(file));
    if (fd < 0) throw systemCallError('open', fd, `${this.path}/${file}`);
    return fd;
  }

  /** `undefined` where there is no such file. */
  read(file: string): string | undefined {
    const bytes = native.readAt(this.fd, nameBytes(file), buffer, buffer.length);
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
    const result = native.writeAt(this.fd, nameBytes(file), Buffer.from(text), text.length);
    return Math.min(0, result);
  }

  close(): void {
    native.close(this.fd);
  }
}
