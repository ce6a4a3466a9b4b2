// `npm run image -- --out DIR [options]`
import { parseArgs } from 'node:util';
import { buildImage } from './builder/build-image.js';
import type { DiskType } from './builder/disk.js';
import { buildOverlay } from './builder/overlay.js';

const usage = `npm run image -- --out DIR [options]

  --out DIR        where the image goes: vmlinuz, initramfs.cpio, image.json
  --node PATH      Node for the guest (default: the running one)
  --disk TYPE      a root disk beside it, ext4 or erofs; may be repeated
  --disk-spare MIB room to write on an ext4 disk (default: 64)
  --add FROM:PATH  a file or folder of this machine, for the guest; may be repeated
  --vmlinux        the unpacked kernel too, for Firecracker and Cloud Hypervisor
  --kernel FILE    a kernel instead of Debian's linux-image-cloud
  --modules DIR    that kernel's lib/modules/RELEASE
  --busybox FILE   a static busybox (default: the one in PATH)
  --cache DIR      where downloads are kept
  --help

npm run image -- --overlay --out DIR [options]: the agent for a root file system that exists, as a tar layer

  --root PATH      a folder or tar archive to add it to
  --oci DIR        an OCI image layout to add it to, as a layer
  --libc LIBC      glibc (default): with its own Node, for any image; musl: for Alpine's Node
  --node, --kernel, --modules, --cache as above
`;

const log = (text: string): void => void process.stderr.write(`${text}\n`);
const { values } = parseArgs({
  options: {
    out: { type: 'string' },
    node: { type: 'string' },
    disk: { type: 'string', multiple: true },
    'disk-spare': { type: 'string' },
    add: { type: 'string', multiple: true },
    vmlinux: { type: 'boolean' },
    kernel: { type: 'string' },
    modules: { type: 'string' },
    busybox: { type: 'string' },
    cache: { type: 'string' },
    overlay: { type: 'boolean' },
    root: { type: 'string' },
    oci: { type: 'string' },
    libc: { type: 'string' },
    help: { type: 'boolean' },
  },
});

if (values.help === true || values.out === undefined) {
  (values.help === true ? process.stdout : process.stderr).write(usage);
  process.exitCode = values.help === true ? 0 : 2;
} else if (values.overlay === true) {
  const { out, libc, node, kernel, modules, cache, root, oci } = values;
  if (libc !== undefined && libc !== 'glibc' && libc !== 'musl')
    throw new Error(`--libc ${libc}: neither glibc nor musl`);
  const bytes = buildOverlay({ out, libc, node, kernel, modules, cache, root, oci, log });
  process.stdout.write(`hawser-overlay.tar ${(bytes / 1e6).toFixed(1)} MB\n`);
} else {
  const manifest = buildImage({
    out: values.out,
    node: values.node,
    kernel: values.kernel,
    vmlinux: values.vmlinux,
    modules: values.modules,
    busybox: values.busybox,
    cache: values.cache,
    disks: values.disk?.map(diskType),
    diskSpareBytes: values['disk-spare'] === undefined ? undefined : Number(values['disk-spare']) * 2 ** 20,
    add: Object.fromEntries(
      (values.add ?? []).map((each) => each.split(':').toReversed() as [string, string]),
    ),
    log,
  });
  for (const [name, { bytes, sha256 }] of Object.entries(manifest.files))
    process.stdout.write(`${name.padEnd(16)} ${(bytes / 1e6).toFixed(1).padStart(7)} MB  sha256 ${sha256}\n`);
}

function diskType(text: string): DiskType {
  if (text === 'ext4' || text === 'erofs') return text;
  throw new Error(`--disk ${text}: neither ext4 nor erofs`);
}
