import type { HawserError } from '../../src/errors.js';
import type { Line, LineHandler, LineKind } from '../../src/line.js';
import type { SimClock } from './sim-clock.js';

/** What happens to the bytes of one direction when so many have arrived. Those of one direction are in order. */
export type Fault = { readonly at: number } & (
  | { readonly kind: 'flip'; readonly bit: number }
  | { readonly kind: 'drop'; readonly bytes: number }
  | { readonly kind: 'double'; readonly bytes: number }
  | { readonly kind: 'insert'; readonly bytes: Uint8Array }
  /** Nothing arrives for so long. */
  | { readonly kind: 'stall'; readonly ms: number }
  /** Nothing arrives any more on this cable, in this direction. */
  | { readonly kind: 'silence' }
  /** Both ends lose the line, the host's only, or the agent's only. */
  | { readonly kind: 'cut'; readonly knows: 'both' | 'host' | 'agent' }
);

export interface CableOptions {
  readonly kind: LineKind;
  readonly hostMayCorrupt: boolean;
  readonly agentMayCorrupt: boolean;
  /** Bytes that the kernel takes from one end before the other has got them. */
  readonly bufferBytes: number;
  /** `Infinity` for a line that takes no time. */
  readonly bytesPerMs: number;
  readonly latencyMs: number;
  readonly dataBytesPreferred: number;
  /** The size of the next piece that arrives, and the most that the next write takes. */
  pieceBytes(): number;
  writeBytes(): number;
  /** Faults to come, for all cables one after the other; the first are taken off as they happen. */
  readonly toAgent: Fault[];
  readonly toHost: Fault[];
}

/** Bytes that have arrived so far, over all cables: what faults are counted by. */
export interface Traffic {
  toAgent: number;
  toHost: number;
}

interface Piece {
  /** Not copied, as a line may do: what changes before it has arrived, arrives changed. */
  bytes: Uint8Array;
}

/** One end of a simulated cable. */
class SimLine implements Line {
  readonly kind: LineKind;
  readonly name: string;
  readonly mayCorrupt: boolean;
  readonly dataBytesPreferred: number;
  other!: SimLine;
  readonly #clock: SimClock;
  readonly #options: CableOptions;
  readonly #faults: Fault[];
  readonly #count: (bytes: number) => void;
  readonly #position: () => number;
  readonly #onCut: (knows: 'both' | 'host' | 'agent') => void;
  #handler: LineHandler | undefined;
  #state: 'idle' | 'open' | 'closed' = 'idle';
  /** Written and not yet arrived at the other end. */
  readonly #flying: Piece[] = [];
  #flyingBytes = 0;
  #moving = false;
  #full = false;
  #silent = false;

  constructor(
    clock: SimClock,
    options: CableOptions,
    end: {
      name: string;
      mayCorrupt: boolean;
      faults: Fault[];
      count: (bytes: number) => void;
      position: () => number;
      onCut: (knows: 'both' | 'host' | 'agent') => void;
    },
  ) {
    this.#clock = clock;
    this.#options = options;
    this.kind = options.kind;
    this.name = end.name;
    this.mayCorrupt = end.mayCorrupt;
    this.dataBytesPreferred = options.dataBytesPreferred;
    this.#faults = end.faults;
    this.#count = end.count;
    this.#position = end.position;
    this.#onCut = end.onCut;
  }

  get closed(): boolean {
    return this.#state === 'closed';
  }

  start(handler: LineHandler): void {
    this.#handler = handler;
    this.#state = 'open';
  }

  write(head: Uint8Array, body?: Uint8Array): number {
    if (this.#state !== 'open') return 0;
    if (this.#full) throw new Error('a line that was full was written to before it asked');
    const total = head.length + (body?.length ?? 0);
    const room = this.#options.bufferBytes - this.#flyingBytes;
    const taken = Math.max(0, Math.min(total, room, this.#options.writeBytes()));
    if (taken > 0) {
      this.#flying.push({ bytes: copyOf(head, taken) });
      if (body !== undefined && taken > head.length)
        this.#flying.push({ bytes: body.subarray(0, taken - head.length) });
      this.#flyingBytes += taken;
    }
    if (taken < total) {
      this.#full = true;
      // Not for want of room: it takes the next in a moment.
      if (taken < room) this.#clock.afterOurs(0, () => this.#room());
    }
    this.#move();
    return taken;
  }

  setReading(): void {}

  close(): void {
    this.fail();
    // Whoever reads the other end of a socket hears of it, behind what was written; a serial port's never does.
    if (this.kind !== 'uart') this.#clock.afterOurs(1, () => this.other.fail());
  }

  /** This end is told that the line is gone. */
  fail(error?: HawserError): void {
    if (this.#state === 'closed') return;
    const before = this.#state;
    this.#state = 'closed';
    if (before === 'open') queueMicrotask(() => this.#handler?.closed(error));
  }

  #move(): void {
    if (this.#moving || this.#flyingBytes === 0) return;
    this.#moving = true;
    const bytes = Math.max(1, Math.min(this.#flyingBytes, this.#options.pieceBytes()));
    const ms = bytes / this.#options.bytesPerMs;
    this.#clock.afterOurs(Math.max(ms, this.#options.latencyMs), () => {
      this.#moving = false;
      const stallMs = this.#arrive(bytes);
      if (stallMs > 0) {
        this.#moving = true;
        this.#clock.afterOurs(stallMs, () => {
          this.#moving = false;
          this.#move();
        });
      }
      this.#room();
      this.#move();
    });
  }

  #room(): void {
    if (!this.#full || this.#state !== 'open' || this.#flyingBytes >= this.#options.bufferBytes) return;
    this.#full = false;
    this.#handler?.writable();
  }

  /** The first `bytes` of what flies arrive, as far as they do. @returns for how long nothing follows. */
  #arrive(bytes: number): number {
    const out: Uint8Array[] = [];
    let left = bytes;
    let stallMs = 0;
    while (left > 0 && !this.#silent) {
      const fault = this.#faults[0];
      const at = this.#position();
      if (fault !== undefined && fault.at <= at) {
        this.#faults.shift();
        if (fault.kind === 'cut') {
          this.#deliver(out);
          this.#onCut(fault.knows);
          return 0;
        }
        if (fault.kind === 'silence') this.#silent = true;
        else if (fault.kind === 'stall') {
          stallMs = fault.ms;
          break;
        } else left -= this.#spoil(fault, left, out);
        continue;
      }
      const until = fault === undefined ? left : Math.min(left, fault.at - at);
      const part = this.#take(until);
      out.push(part);
      left -= part.length;
    }
    if (this.#silent) this.#take(left, true);
    this.#deliver(out);
    return stallMs;
  }

  /** @returns how many of the `left` bytes were used up. */
  #spoil(fault: Fault, left: number, out: Uint8Array[]): number {
    switch (fault.kind) {
      case 'flip': {
        const byte = Uint8Array.from(this.#take(1));
        byte[0] = (byte[0] as number) ^ (1 << fault.bit);
        out.push(byte);
        return 1;
      }
      case 'drop': {
        return this.#take(Math.min(left, fault.bytes), true).length;
      }
      case 'double': {
        const part = Uint8Array.from(this.#take(Math.min(left, fault.bytes), true));
        out.push(part, part);
        return part.length;
      }
      case 'insert':
        out.push(fault.bytes);
        return 0;
      default:
        return 0;
    }
  }

  /** Takes off what flies. @param all not only what lies in one piece. */
  #take(bytes: number, all = false): Uint8Array {
    const parts: Uint8Array[] = [];
    let left = bytes;
    while (left > 0) {
      const [first] = this.#flying;
      if (first === undefined) break;
      const part = first.bytes.subarray(0, left);
      if (part.length === first.bytes.length) this.#flying.shift();
      else first.bytes = first.bytes.subarray(part.length);
      parts.push(part);
      left -= part.length;
      if (!all) break;
    }
    const taken = parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts);
    this.#flyingBytes -= taken.length;
    this.#count(taken.length);
    return taken;
  }

  #deliver(parts: readonly Uint8Array[]): void {
    for (const bytes of parts) {
      for (let at = 0; at < bytes.length && this.other.#state === 'open'; ) {
        const room = this.other.#handler?.readBuffer();
        if (room === undefined || room.length === 0) throw new Error('no room to read into');
        const piece = bytes.subarray(at, at + room.length);
        room.set(piece);
        at += piece.length;
        this.other.#handler?.received(piece.length);
      }
    }
  }
}

/** Two lines that are each other's other end, and what goes wrong between them. */
export class SimCable {
  readonly host: SimLine;
  readonly agent: SimLine;

  constructor(clock: SimClock, options: CableOptions, traffic: Traffic) {
    const onCut = (knows: 'both' | 'host' | 'agent'): void => {
      if (knows !== 'agent') this.host.fail();
      if (knows !== 'host') this.agent.fail();
      // Whoever was not told writes to nobody: its end finds that out by itself.
      this.host.other = this.agent.other = nowhere(clock, options);
    };
    this.host = new SimLine(clock, options, {
      name: 'host',
      mayCorrupt: options.hostMayCorrupt,
      faults: options.toAgent,
      count: (bytes) => (traffic.toAgent += bytes),
      position: () => traffic.toAgent,
      onCut,
    });
    this.agent = new SimLine(clock, options, {
      name: 'agent',
      mayCorrupt: options.agentMayCorrupt,
      faults: options.toHost,
      count: (bytes) => (traffic.toHost += bytes),
      position: () => traffic.toHost,
      onCut,
    });
    this.host.other = this.agent;
    this.agent.other = this.host;
  }
}

function nowhere(clock: SimClock, options: CableOptions): SimLine {
  const line = new SimLine(clock, options, {
    name: 'nowhere',
    mayCorrupt: false,
    faults: [],
    count: () => {},
    position: () => 0,
    onCut: () => {},
  });
  line.other = line;
  return line;
}

/** In memory of its own, and no Buffer: those are dear to make. */
function copyOf(bytes: Uint8Array, length: number): Uint8Array {
  const copy = new Uint8Array(Math.min(length, bytes.length));
  for (let i = 0; i < copy.length; i++) copy[i] = bytes[i] as number;
  return copy;
}
