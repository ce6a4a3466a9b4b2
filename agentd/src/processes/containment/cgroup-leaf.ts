import { systemCallError } from '../../ffi/errno.js';
import * as native from '../../ffi/native.js';
import type { CgroupDirectory } from './cgroup-files.js';

export interface CpuTimes {
  readonly userUs: number;
  readonly systemUs: number;
}

const times = new Float64Array(2);

/** A cgroup that a session may have. What is asked for of it is opened, and stays open until it rests. */
export class CgroupLeaf {
  readonly directory: CgroupDirectory;
  /** It lies where the watchdog does not look. */
  readonly survives: boolean;
  /** CPU time of the sessions that had it before. */
  cpuBefore: CpuTimes = { userUs: 0, systemUs: 0 };
  /** While its command runs nothing of it is open: one of so many that their descriptors would slow down every launch. */
  isLight = false;
  #events = -1;
  #cpuStat = -1;

  constructor(directory: CgroupDirectory, survives: boolean) {
    this.directory = directory;
    this.survives = survives;
  }

  /** Descriptor of its cgroup.events, or a negative errno. */
  get events(): number {
    if (this.#events < 0) this.#events = this.directory.openFile('cgroup.events');
    return this.#events;
  }

  /** What its processes have used, those of the sessions before included. @throws HawserError `system_call_failed`. */
  cpuTimes(): CpuTimes {
    if (this.#cpuStat < 0) this.#cpuStat = this.directory.openFile('cpu.stat');
    const result = this.#cpuStat < 0 ? this.#cpuStat : native.cgroupCpu(this.#cpuStat, times);
    if (result < 0) throw systemCallError('read', result, `${this.directory.path}/cpu.stat`);
    const [userUs = 0, systemUs = 0] = times;
    return { userUs, systemUs };
  }

  /** Opens what every session needs. @throws HawserError `system_call_failed`. */
  wake(): void {
    if (this.directory.fd >= 0 && this.events < 0)
      throw systemCallError('open', this.events, `${this.directory.path}/cgroup.events`);
  }

  /** Closes what is open of it, until it is asked for again. */
  rest(): void {
    if (this.#events >= 0) native.close(this.#events);
    if (this.#cpuStat >= 0) native.close(this.#cpuStat);
    this.#events = -1;
    this.#cpuStat = -1;
    this.directory.rest();
  }
}
