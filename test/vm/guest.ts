import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, watch } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Agent, ConnectOptions, HawserError } from '@hawser/host-client';
import { connect } from '@hawser/host-client';

/** A name becomes a Unix socket of the host, `unix:FOLDER/NAME.sock`. */
export interface GuestOptions {
  /** Folder of an image. */
  readonly image: string;
  /** `microvm` boots quickest and has one serial port; `q35` has four. */
  readonly machine?: 'microvm' | 'q35';
  /** Names of virtio-serial ports. */
  readonly ports?: readonly string[];
  /** ttyS0, ttyS1 and so on. `console` is the one whose text is kept; it may be left out. */
  readonly serials?: readonly string[];
  /** Raw images, in the order of vda, vdb. */
  readonly disks?: readonly string[];
  /** The kernel's command line, beside what the machine needs. */
  readonly append?: readonly string[];
  /** Another initramfs than the image's. */
  readonly initramfs?: string;
  readonly memoryMiB?: number;
}

export interface Guest extends AsyncDisposable {
  readonly pid: number;
  /** A private folder, removed at the end. */
  readonly folder: string;
  /** What came out of the console so far. */
  readonly console: () => string;
  /** Fails when the machine ends before. */
  readonly awaitConsole: (pattern: RegExp) => Promise<void>;
  /** The host's end of a line, for `connect`. */
  readonly line: (name: string) => string;
  readonly connect: (name: string, options?: ConnectOptions) => Promise<Agent>;
  /** How QEMU ended. */
  readonly exited: Promise<[code: number | null, signal: NodeJS.Signals | null]>;
}

const machines = {
  microvm: {
    machine: 'microvm,rtc=on,acpi=on',
    bus: 'device',
    append: ['tsc_early_khz=2300000', 'reboot=t'],
  },
  q35: { machine: 'q35', bus: 'pci', append: ['reboot=t'] },
} as const;

/** Starts a guest in QEMU's software emulation, which runs everywhere. It ends with this process. */
export async function bootGuest(options: GuestOptions): Promise<Guest> {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-vm-'));
  const names = [...(options.ports ?? []), ...(options.serials ?? []).filter((name) => name !== 'console')];
  const sockets = Promise.all(names.map((name) => appearance(folder, `${name}.sock`)));
  // QEMU dies with the thread that started it, also when that is killed.
  const child = spawn(
    'setpriv',
    ['--pdeathsig', 'SIGKILL', 'qemu-system-x86_64', ...qemuArguments(folder, options)],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let text = '';
  let errors = '';
  const onText = new Set<() => void>();
  child.stdout.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk;
    for (const look of onText) look();
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (errors += chunk));
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  const early = exited.then(([code, signal]) => {
    throw new Error(`QEMU ended with ${code ?? signal}: ${errors}${text.slice(-2000)}`);
  });
  early.catch(() => {});
  await Promise.race([sockets, early]);
  const line = (name: string): string => `unix:${join(folder, `${name}.sock`)}`;
  return {
    pid: child.pid as number,
    folder,
    console: () => text,
    awaitConsole: (pattern) =>
      Promise.race([
        early,
        new Promise<void>((resolve) => {
          const look = (): void => {
            if (!pattern.test(text)) return;
            onText.delete(look);
            resolve();
          };
          onText.add(look);
          look();
        }),
      ]),
    line,
    connect: (name, connectOptions) =>
      Promise.race([early, connectWhenListening(line(name), connectOptions)]),
    exited,
    async [Symbol.asyncDispose]() {
      await kill(child, exited);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function qemuArguments(folder: string, options: GuestOptions): string[] {
  const { machine, bus, append } = machines[options.machine ?? 'microvm'];
  const { image, ports = [], serials = ['console'], disks = [], memoryMiB = 512 } = options;
  const socket = (name: string): string[] => [
    '-chardev',
    `socket,id=${name},path=${join(folder, `${name}.sock`)},server=on,wait=off`,
  ];
  const hasConsole = serials.includes('console');
  const words = (text: string): string[] => text.split(' ');
  const kernel = join(image, 'vmlinuz');
  const initramfs = options.initramfs ?? join(image, 'initramfs.cpio');
  const commandLine = ['console=ttyS0', 'panic=-1', ...append, ...(options.append ?? ['quiet'])].join(' ');
  return [
    words(`-accel tcg,thread=multi -cpu max -M ${machine} -m ${memoryMiB} -smp 1`),
    words('-nic none -display none -nodefaults -no-user-config -no-reboot'),
    hasConsole ? words('-chardev stdio,id=console,signal=off') : [],
    serials.flatMap((name) => [...(name === 'console' ? [] : socket(name)), '-serial', `chardev:${name}`]),
    ports.length > 0 ? ['-device', `virtio-serial-${bus}`] : [],
    ports.flatMap((name) => [...socket(name), '-device', `virtserialport,chardev=${name},name=${name}`]),
    disks.flatMap((path, index) => {
      const drive = ['-drive', `id=disk${index},file=${path},format=raw,if=none`];
      return [...drive, '-device', `virtio-blk-${bus},drive=disk${index}`];
    }),
    ['-kernel', kernel, '-initrd', initramfs, '-append', commandLine],
  ].flat();
}

/** QEMU's socket file is there a moment before somebody listens on it, of which no event tells. */
export async function connectWhenListening(line: string, options: ConnectOptions = {}): Promise<Agent> {
  for (;;) {
    try {
      return await connect(line, { handshakeTimeoutMs: 200_000, ...options });
    } catch (error) {
      const { errno } = error as HawserError;
      if (errno !== 'ECONNREFUSED' && errno !== 'ENOENT') throw error;
    }
    await pause(5);
  }
}

/** The file is there, or has just come. */
function appearance(folder: string, name: string): Promise<void> {
  return new Promise((resolve) => {
    const watcher = watch(folder);
    const look = (): void => {
      if (!existsSync(join(folder, name))) return;
      watcher.close();
      resolve();
    };
    watcher.on('change', look);
    look();
  });
}

async function kill(child: ChildProcess, exited: Promise<unknown>): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  await exited;
}
