import t from 'tap';
import {
  cloudHypervisorArguments,
  cloudHypervisorSnapshotCalls,
} from '../../src/vm/hypervisors/cloud-hypervisor-arguments.js';
import {
  firecrackerArguments,
  firecrackerBootCalls,
  firecrackerConfig,
  firecrackerRestoreCalls,
} from '../../src/vm/hypervisors/firecracker-config.js';
import { hostLine, vsockCid } from '../../src/vm/hypervisors/guest-lines.js';
import { qemuArguments } from '../../src/vm/hypervisors/qemu-arguments.js';
import { aPlan } from './plans.js';

const directory = '/run/hawser/vms/0000002a';

/** The value behind a flag; a flag that is there twice has several. */
function valuesOf(args: readonly string[], flag: string): (string | undefined)[] {
  return args.flatMap((arg, index) => (arg === flag ? [args[index + 1]] : []));
}

t.test('QEMU, microvm: everything, as it was tried by hand', (t) => {
  t.same(qemuArguments(aPlan(), directory), [
    '-no-user-config',
    '-nodefaults',
    '-display',
    'none',
    '-nic',
    'none',
    '-sandbox',
    'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny',
    '-accel',
    'tcg,thread=multi',
    '-machine',
    'microvm,rtc=on',
    '-cpu',
    'max',
    '-m',
    '512M',
    '-smp',
    '1',
    '-S',
    '-action',
    'reboot=shutdown,shutdown=pause',
    '-chardev',
    'socket,id=qmp,path=api.sock',
    '-mon',
    'chardev=qmp,mode=control',
    '-kernel',
    '/images/vmlinuz',
    '-initrd',
    '/images/initramfs.cpio',
    '-append',
    'console=ttyS0 quiet panic=-1 reboot=t tsc_early_khz=2300000 hawser.listen=virtio:agent',
    '-chardev',
    'stdio,id=console,signal=off,mux=off',
    '-serial',
    'chardev:console',
    '-device',
    'virtio-serial-device',
    '-chardev',
    'socket,id=agent,path=agent.sock,server=on,wait=off',
    '-device',
    'virtserialport,chardev=agent,name=agent,id=agent',
  ]);
  t.end();
});

t.test('QEMU, q35 with KVM: PCI devices, the CPU of the host, and no help for the clock', (t) => {
  const args = qemuArguments(
    aPlan({ machine: 'q35', accelerator: 'kvm', cpus: 4, memoryMiB: 2048 }),
    directory,
  );
  t.same(valuesOf(args, '-accel'), ['kvm']);
  t.same(valuesOf(args, '-cpu'), ['host']);
  t.same(valuesOf(args, '-smp'), ['4']);
  t.same(valuesOf(args, '-m'), ['2048M']);
  t.ok(valuesOf(args, '-device').includes('virtio-serial-pci'));
  t.notMatch(valuesOf(args, '-append')[0] ?? '', /tsc_early_khz/);
  t.end();
});

t.test('QEMU: disks, with commas in their paths, read-only where they are', (t) => {
  const args = qemuArguments(
    aPlan({
      disks: [
        { path: '/a,b=c.raw', readOnly: true },
        { path: '/w.raw', readOnly: false },
      ],
    }),
    directory,
  );
  t.same(
    valuesOf(args, '-blockdev').map((text) => JSON.parse(text ?? '') as unknown),
    [
      {
        driver: 'raw',
        'node-name': 'disk0',
        'read-only': true,
        file: { driver: 'file', filename: '/a,b=c.raw', 'read-only': true, 'auto-read-only': false },
      },
      {
        driver: 'raw',
        'node-name': 'disk1',
        'read-only': false,
        file: { driver: 'file', filename: '/w.raw', 'read-only': false, 'auto-read-only': false },
      },
    ],
  );
  t.ok(args.includes('virtio-blk-device,drive=disk1,serial=disk1'));
  t.end();
});

t.test('QEMU: each line has its device, its place in the guest and its place on the host', (t) => {
  const both = aPlan({ machine: 'q35', lines: ['uart', 'vsock'], kernelArgs: ['hawser.log-level=debug'] });
  const args = qemuArguments(both, directory);
  t.same(valuesOf(args, '-serial'), ['chardev:console', 'chardev:uart'], 'the second port is the line');
  t.ok(args.includes('vhost-vsock-pci,guest-cid=45'), 'the folder 0000002a is 42, and 3 are reserved');
  t.match(
    valuesOf(args, '-append')[0],
    / hawser\.listen=uart:\/dev\/ttyS1,vsock:5000 hawser\.log-level=debug$/,
  );
  t.equal(hostLine('uart', both, directory), `unix:${directory}/uart.sock`);
  t.equal(hostLine('vsock', both, directory), 'vsock:45:5000');
  t.equal(hostLine('virtio', both, directory), `unix:${directory}/agent.sock`);
  t.equal(
    hostLine('vsock', aPlan({ hypervisor: 'firecracker' }), directory),
    `firecracker:${directory}/vsock.sock:5000`,
  );

  const shared = qemuArguments(aPlan({ lines: ['console'] }), directory);
  t.ok(
    shared.includes(
      'socket,id=console,path=console.sock,server=on,wait=off,logfile=console.log,logappend=on',
    ),
  );
  t.match(valuesOf(shared, '-append')[0], /hawser\.listen=uart:\/dev\/ttyS0$/);
  t.notOk(
    shared.some((arg) => arg.startsWith('stdio,')),
    'one console, and it is the line',
  );

  t.ok(vsockCid('/x/ffffffff') >= 3 && vsockCid('/x/ffffffff') < 0xffff_ffff, 'never the wildcard');
  t.end();
});

t.test('QEMU that is restored waits for the memory', (t) => {
  t.same(valuesOf(qemuArguments(aPlan({ restoreFrom: '/snap' }), directory), '-incoming'), ['defer']);
  t.end();
});

const vsockPlan = aPlan({
  hypervisor: 'firecracker',
  program: 'firecracker',
  lines: ['vsock'],
  memoryMiB: 256,
  cpus: 2,
  disks: [{ path: '/root.ext4', readOnly: true }],
});

t.test("Firecracker: the configuration file and the API's calls are the same", (t) => {
  t.same(firecrackerArguments(vsockPlan, '0000002a'), ['--api-sock', 'api.sock', '--id', '0000002a']);
  const bootArgs = 'console=ttyS0 quiet reboot=k panic=-1 pci=off i8042.noaux hawser.listen=vsock:5000';
  const drive = { drive_id: 'disk0', path_on_host: '/root.ext4', is_root_device: false, is_read_only: true };
  t.same(firecrackerConfig(vsockPlan), {
    'boot-source': {
      kernel_image_path: '/images/vmlinuz',
      initrd_path: '/images/initramfs.cpio',
      boot_args: bootArgs,
    },
    'machine-config': { vcpu_count: 2, mem_size_mib: 256 },
    drives: [drive],
    vsock: { guest_cid: 3, uds_path: 'vsock.sock' },
  });
  t.same(
    firecrackerBootCalls(vsockPlan).map(({ method, path, body }) => [method, path, body]),
    [
      ['PUT', '/machine-config', { vcpu_count: 2, mem_size_mib: 256 }],
      [
        'PUT',
        '/boot-source',
        { kernel_image_path: '/images/vmlinuz', initrd_path: '/images/initramfs.cpio', boot_args: bootArgs },
      ],
      ['PUT', '/drives/disk0', drive],
      ['PUT', '/vsock', { guest_cid: 3, uds_path: 'vsock.sock' }],
      ['PUT', '/actions', { action_type: 'InstanceStart' }],
    ],
  );
  t.same(firecrackerRestoreCalls('/snap'), [
    {
      method: 'PUT',
      path: '/snapshot/load',
      body: {
        snapshot_path: '/snap/state',
        mem_backend: { backend_type: 'File', backend_path: '/snap/memory' },
        resume_vm: true,
      },
    },
  ]);
  t.end();
});

t.test('Cloud Hypervisor: everything is on its command line', (t) => {
  const plan = {
    ...vsockPlan,
    hypervisor: 'cloud-hypervisor',
    disks: [...vsockPlan.disks, { path: '/a,b.raw', readOnly: false }],
  } as const;
  t.same(cloudHypervisorArguments(plan), [
    '--api-socket',
    'path=api.sock',
    '--kernel',
    '/images/vmlinuz',
    '--initramfs',
    '/images/initramfs.cpio',
    '--cmdline',
    'console=ttyS0 quiet panic=-1 reboot=k hawser.listen=vsock:5000',
    '--cpus',
    'boot=2',
    '--memory',
    'size=256M',
    '--serial',
    'tty',
    '--console',
    'off',
    '--disk',
    'path=/root.ext4,readonly=on',
    'path="/a,b.raw",readonly=off',
    '--vsock',
    'cid=3,socket=vsock.sock',
  ]);
  t.same(cloudHypervisorArguments({ ...plan, restoreFrom: '/snap' }), [
    '--api-socket',
    'path=api.sock',
    '--restore',
    'source_url=file:///snap',
  ]);
  t.same(cloudHypervisorSnapshotCalls('/snap').save, {
    method: 'PUT',
    path: '/api/v1/vm.snapshot',
    body: { destination_url: 'file:///snap' },
  });
  t.end();
});
