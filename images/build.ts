// `npm run image -- --out DIR [options]`
import { parseArgs } from 'node:util';
import { buildImage } from './builder/build-image.js';

const usage = `npm run image -- --out DIR [options]

  --out DIR        where the image goes: vmlinuz, initramfs.cpio, image.json
  --node PATH      Node for the guest (default: the running one)
  --kernel FILE    a kernel instead of Debian's linux-image-cloud
  --modules DIR    that kernel's lib/modules/RELEASE
  --busybox FILE   a static busybox (default: the one in PATH)
  --cache DIR      where downloads are kept
  --help
`;

const { values } = parseArgs({
  options: {
    out: { type: 'string' },
    node: { type: 'string' },
    kernel: { type: 'string' },
    modules: { type: 'string' },
    busybox: { type: 'string' },
    cache: { type: 'string' },
    help: { type: 'boolean' },
  },
});

if (values.help === true || values.out === undefined) {
  (values.help === true ? process.stdout : process.stderr).write(usage);
  process.exitCode = values.help === true ? 0 : 2;
} else {
  const manifest = buildImage({
    ...values,
    out: values.out,
    log: (text) => void process.stderr.write(`${text}\n`),
  });
  for (const [name, { bytes, sha256 }] of Object.entries(manifest.files))
    process.stdout.write(`${name.padEnd(16)} ${(bytes / 1e6).toFixed(1).padStart(7)} MB  sha256 ${sha256}\n`);
}
