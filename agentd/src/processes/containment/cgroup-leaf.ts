import { systemCallError } from '../../ffi/errno.js';
import * as native from '../../ffi/native.js';
import type { CgroupDirectory } from './cgroup-files.js';

export interface CpuTimes {
  readonly userUs: number;
  readonly systemUs: number;
}

const times = new Float64Array(2);

export interface LeafOptions {
  readonly name: string;
  /** It lies where the watchdog does not look. */
  readonly survives: boolean;
  /** CPU time of the sessions that had it before. */
  readonly cpuBefore: CpuTimes;
}

/** A cgroup that a session may have. The files that are asked again and again stay open. */
export class CgroupLeaf {
  readonly directory: CgroupDirectory;
  readonly name: string;
  readonly survives: boolean;
  /** Descriptor of its cgroup.events: open from the beginning, since it has to be read when a command ends. */
  readonly events: number;
  cpuBefore: CpuTimes;
  #cpuStat = -1;

  private constructor(directory: CgroupDirectory, events: number, options: LeafOptions) {
    this.directory = directory;
    this.events = events;
    this.name = options.name;
    this.survives = options.survives;
    this.cpuBefore = options.cpuBefore;
  }

  /** Takes the directory, and closes it where it fails. @throws HawserError `system_call_failed`. */
  static open(directory: CgroupDirectory, options: LeafOptions): CgroupLeaf {
    try {
      return new CgroupLeaf(directory, directory.openFile('cgroup.events'), options);
    } catch (error) {
      directory.close();
      throw error;
    }
  }

  /** What its processes have used, those of the sessions before included. @throws HawserError `system_call_failed`. */
  cpuTimes(): CpuTimes {
    if (this.#cpuStat < 0) this.#cpuStat = this.directory.openFile('cpu.stat');
    const result = native.cgroupCpu(this.#cpuStat, times);
    if (result < 0) throw systemCallError('pread', result, `${this.directory.path}/cpu.stat`);
    const [userUs = 0, systemUs = 0] = times;
    return { userUs, systemUs };
  }

  close(): void {
    native.close(this.events);
    if (this.#cpuStat >= 0) native.close(this.#cpuStat);
    this.directory.close();
  }
}
