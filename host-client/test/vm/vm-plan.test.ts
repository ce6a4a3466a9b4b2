import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HawserError } from '@hawser/protocol';
import t from 'tap';
import { checkVmName } from '../../src/vm/vm-name.js';
import type { LaunchVmOptions } from '../../src/vm/vm-options.js';
import { planVm } from '../../src/vm/vm-plan.js';

const image = t.testdir({
  'image.json': JSON.stringify({
    format: 1,
    kernel: 'vmlinuz',
    initramfs: 'initramfs.cpio',
    disks: { ext4: { disk: 'root.ext4', initramfs: 'ext4.cpio' } },
  }),
});

function refusal(options: LaunchVmOptions, env: NodeJS.ProcessEnv = {}): string {
  try {
    planVm(options, env);
  } catch (error) {
    if (error instanceof HawserError && error.code === 'invalid_argument') return error.message;
    throw error;
  }
  throw new Error('it was not refused');
}

t.test('an image is enough; the rest has defaults', (t) => {
  const plan = planVm({ image, accelerator: 'tcg' }, {});
  t.equal(plan.kernel, join(image, 'vmlinuz'));
  t.equal(plan.initramfs, join(image, 'initramfs.cpio'));
  t.match(plan, { hypervisor: 'qemu', memoryMiB: 512, cpus: 1, lines: ['virtio'], disks: [], vmsMax: 64 });
  t.same(planVm({ image, hypervisor: 'firecracker' }, {}).lines, ['vsock']);
  t.equal(
    planVm({ kernel: '/k' }, { HAWSER_IMAGE: image }).initramfs,
    null,
    'a kernel of its own has no initramfs of others',
  );
  t.equal(planVm({}, { HAWSER_IMAGE: image }).kernel, join(image, 'vmlinuz'));
  t.end();
});

t.test(
  'the environment chooses the accelerator, an option overrules it, and KVM is not taken blindly',
  (t) => {
    t.equal(planVm({ image }, { HAWSER_QEMU_ACCEL: 'tcg' }).accelerator, 'tcg');
    t.equal(planVm({ image, accelerator: 'kvm' }, { HAWSER_QEMU_ACCEL: 'tcg' }).accelerator, 'kvm');
    t.match(refusal({ image }, { HAWSER_QEMU_ACCEL: 'xen' }), /no accelerator "xen"/);
    t.end();
  },
);

t.test('what is wrong is refused before anything is started, and named', (t) => {
  t.match(refusal({}), /neither an image nor a kernel/);
  t.match(refusal({ image: '/nowhere' }), /\/nowhere is no image/);
  t.match(refusal({ image, memoryMiB: 0.5 }), /memoryMiB 0\.5/);
  t.match(refusal({ image, cpus: 0 }), /cpus 0/);
  t.match(refusal({ image, lines: [] }), /lines is empty/);
  t.match(refusal({ image, lines: ['virtio', 'virtio'] }), /twice/);
  t.match(
    refusal({ image, hypervisor: 'firecracker', lines: ['virtio'] }),
    /firecracker has no line "virtio"/,
  );
  t.match(refusal({ image, kernelArgs: ['a b'] }), /"a b"/);
  t.match(refusal({ image }, { HAWSER_VMS_MAX: 'many' }), /vmsMax NaN/);
  writeFileSync(join(image, 'image.json'), '{"format":2,"kernel":"k"}');
  t.match(refusal({ image }), /not of a format/);
  t.end();
});

t.test('a name has at most 128 bytes of UTF-8, and nothing that steers a terminal', (t) => {
  t.equal(checkVmName('ü'.repeat(64)), 'ü'.repeat(64), '128 bytes');
  for (const name of ['ü'.repeat(64) + 'x', '', 'a\nb', 'a\u001b[2J', '-x', ' x', '\u2028'])
    t.throws(() => checkVmName(name), { code: 'invalid_argument' }, encodeURI(name));
  t.throws(() => checkVmName('x'.repeat(129)), /129 bytes exceeds vmNameBytesMax 128/);
  t.end();
});
