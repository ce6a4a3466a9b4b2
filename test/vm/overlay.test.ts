import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { writeCpio } from '../../images/builder/cpio.js';
import { readElf } from '../../images/builder/elf.js';
import { FileTree } from '../../images/builder/file-tree.js';
import { buildOverlay } from '../../images/builder/overlay.js';
import { openRcScript, systemdUnit } from '../../images/builder/services.js';
import { tarOf } from '../../images/builder/tar.js';
import { addUserland } from '../../images/builder/userland.js';
import { bootGuest } from './guest.js';
import { skipWithoutQemu, testImage } from './image.js';

const folder = mkdtempSync(join(tmpdir(), 'hawser-overlay-test-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const options = { skip: skipWithoutQemu, timeout: 600_000 };
const at = (...names: string[]): string => join(folder, ...names);

/** A root file system with busybox, linked statically, and no libc at all. */
function bareSystem(): FileTree {
  const tree = new FileTree();
  addUserland(tree, execFileSync('which', ['busybox'], { encoding: 'utf8' }).trim());
  return tree;
}

t.test('a root file system without any libc, with the overlay, started by init=', options, async (t) => {
  const base = at('root.tar');
  writeFileSync(base, tarOf(bareSystem()));
  buildOverlay({ out: at('overlay'), root: base });
  mkdirSync(at('root'));
  execFileSync('tar', ['-x', '-f', base, '-C', at('root')]);
  const tree = new FileTree();
  tree.copyFolder('/', at('root'));
  tree.device('/dev/console', 0o600, 5, 1);
  writeCpio(tree, at('root.cpio'));
  await using guest = await bootGuest({
    image: testImage(),
    initramfs: at('root.cpio'),
    ports: ['agent'],
    append: ['quiet', 'rdinit=/opt/hawser/init'],
  });
  const agent = await guest.connect('agent');
  t.match(await agent.info(), { pid: 1 });
  t.match((await agent.exec('ls', ['/lib', '/lib64'])).stderr, /No such file/, 'the base has no libc');
  t.match(
    await agent.exec('sh', ['-c', 'tty <&1'], { tty: true }),
    { code: 0, stdout: /^\/dev\/pts\/\d/ },
    'terminals work',
  );
  await agent.shutdown();
  t.strictSame(await guest.exited, [0, null]);
});

t.test('an OCI image layout gets one more layer', options, async (t) => {
  const layout = at('oci');
  mkdirSync(join(layout, 'blobs/sha256'), { recursive: true });
  const put = (bytes: Buffer, mediaType: string) => {
    const digest = createHash('sha256').update(bytes).digest('hex');
    writeFileSync(join(layout, 'blobs/sha256', digest), bytes);
    return { mediaType, digest: `sha256:${digest}`, size: bytes.length };
  };
  const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
  const layer = put(tarOf(bareSystem()), 'application/vnd.oci.image.layer.v1.tar');
  const rootfs = { type: 'layers', diff_ids: [layer.digest] };
  const config = put(
    json({ architecture: 'amd64', os: 'linux', rootfs }),
    'application/vnd.oci.image.config.v1+json',
  );
  const type = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = put(json({ schemaVersion: 2, mediaType: type, config, layers: [layer] }), type);
  const annotations = { 'org.opencontainers.image.ref.name': 'latest' };
  writeFileSync(
    join(layout, 'index.json'),
    json({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }),
  );
  writeFileSync(join(layout, 'oci-layout'), json({ imageLayoutVersion: '1.0.0' }));

  buildOverlay({ out: at('overlay-oci'), oci: layout, libc: 'musl' });

  const blob = ({ digest, size }: { digest: string; size: number }): Buffer => {
    const bytes = readFileSync(join(layout, 'blobs/sha256', digest.slice('sha256:'.length)));
    t.equal(`sha256:${createHash('sha256').update(bytes).digest('hex')}`, digest);
    t.equal(bytes.length, size);
    return bytes;
  };
  const index = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8'));
  t.match(index, { manifests: [{ mediaType: type, annotations }] }, 'the name stays');
  const now = JSON.parse(String(blob(index.manifests[0])));
  t.equal(now.layers.length, 2);
  t.strictSame(now.layers[0], layer);
  const described = JSON.parse(String(blob(now.config)));
  t.strictSame(
    described.rootfs.diff_ids,
    now.layers.map((each: { digest: string }) => each.digest),
  );
  t.match(described, { architecture: 'amd64', os: 'linux' });
  writeFileSync(at('layer.tar'), blob(now.layers[1]));
  const names = execFileSync('tar', ['-t', '-f', at('layer.tar')], { encoding: 'utf8' }).split('\n');
  for (const name of [
    'opt/hawser/agentd.cjs',
    'opt/hawser/init',
    'etc/hawser/agentd.json',
    'etc/init.d/hawser-agentd',
  ])
    t.ok(names.includes(name), name);
  t.notOk(
    names.some((name) => /^(usr|lib|bin|sbin)\//.test(name)),
    'nothing where many images have links',
  );

  await t.test("for musl: libraries that need musl only, and Alpine's Node", async (t) => {
    mkdirSync(at('musl'));
    execFileSync('tar', ['-x', '-f', at('layer.tar'), '-C', at('musl')]);
    const library = at('musl/opt/hawser/native/build/libhawser.so');
    t.strictSame(readElf(library).needed, ['libc.so'], 'as musl calls its library');
    t.notMatch(readFileSync(library).toString('latin1'), /GLIBC_/);
    t.match(readFileSync(at('musl/etc/hawser/init'), 'utf8'), /^exec \/usr\/bin\/node$/m);
    t.match(
      readFileSync(at('overlay-oci/Dockerfile'), 'utf8'),
      /apk add .*nodejs\nADD hawser-overlay\.tar \//,
    );
    // A program of musl's loads it and gets random bytes from it.
    const source = at('load.c');
    writeFileSync(
      source,
      '#include <dlfcn.h>\n#include <stdint.h>\nint main(int c, char **v) { (void)c; void *l = dlopen(v[1], RTLD_NOW); int64_t (*f)(uint8_t *, int64_t) = l ? (int64_t (*)(uint8_t *, int64_t))dlsym(l, "hawser_random") : 0; uint8_t b[8]; return f && f(b, 8) == 8 ? 0 : 1; }\n',
    );
    execFileSync('musl-gcc', ['-o', at('load'), source]);
    t.doesNotThrow(() => execFileSync(at('load'), [library]));
  });
});

t.test('the services are ones to their systems', { skip: skipWithoutQemu }, (t) => {
  const script = at('openrc');
  writeFileSync(script, openRcScript(['/usr/bin/node', 'x']));
  t.doesNotThrow(() => execFileSync('sh', ['-n', script]));
  // Where there is no systemd, its text is all that can be looked at.
  t.match(systemdUnit(['/bin/true', 'x']), /^ExecStart=\/bin\/true x$/m);
  const unit = at('hawser-agentd.service');
  writeFileSync(unit, systemdUnit(['/bin/true']));
  let verified = 'no systemd-analyze here';
  try {
    verified = execFileSync('systemd-analyze', ['verify', '--man=no', unit], {
      encoding: 'utf8',
      stdio: 'pipe',
    });
  } catch (error) {
    const { code, stderr } = error as { code?: string; stderr?: string };
    if (code !== 'ENOENT') verified = String(stderr);
  }
  t.notMatch(verified, /hawser-agentd\.service/, 'no complaint about it');
  t.end();
});
