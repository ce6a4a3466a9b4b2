import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { buildImage } from '../../images/builder/build-image.js';
import { skipWithoutQemu } from './image.js';

const folder = mkdtempSync(join(tmpdir(), 'hawser-image-test-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

t.test('the same inputs give the same bytes', { skip: skipWithoutQemu }, async (t) => {
  const added = join(folder, 'added');
  writeFileSync(added, 'added\n');
  const build = (name: string) =>
    buildImage({ out: join(folder, name), disks: ['ext4', 'erofs'], add: { '/srv/added': added } });
  const first = build('first');
  // Times and inodes of the sources, and the number of times it was made, are no inputs.
  writeFileSync(added, 'added\n');
  utimesSync(added, 1, 1);
  const second = build('second');
  t.strictSame(second, first);
  t.strictSame(Object.keys(first.files).toSorted(), [
    'initramfs-erofs.cpio',
    'initramfs-ext4.cpio',
    'initramfs.cpio',
    'root.erofs',
    'root.ext4',
    'vmlinuz',
  ]);
  t.strictSame(JSON.parse(readFileSync(join(folder, 'first/image.json'), 'utf8')), first);

  await t.test('the archive is one to cpio, the disks are ones to their checkers', async (t) => {
    const path = join(folder, 'first/initramfs.cpio');
    const names = execFileSync('cpio', ['--list', '--quiet', '--file', path], { encoding: 'utf8' }).split(
      '\n',
    );
    for (const name of [
      'init',
      'usr/bin/node',
      'opt/hawser/agentd.cjs',
      'bin/busybox',
      'srv/added',
      'dev/console',
    ])
      t.ok(names.includes(name), name);
    t.notOk(
      names.some((name) => /\.map$|prebuilds\/.*musl/.test(name)),
      'nothing that is not needed',
    );
    t.match(
      execFileSync('e2fsck', ['-fn', join(folder, 'first/root.ext4')], { encoding: 'utf8', stdio: 'pipe' }),
      /clean|Pass 5/,
    );
    t.doesNotThrow(() => execFileSync('fsck.erofs', [join(folder, 'first/root.erofs')], { stdio: 'pipe' }));
  });
});
