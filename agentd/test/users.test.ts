import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Users } from '../src/processes/users.js';

const folder = mkdtempSync(join(tmpdir(), 'hawser-users-'));
const passwd = join(folder, 'passwd');
const group = join(folder, 'group');
t.teardown(() => rmSync(folder, { recursive: true }));

writeFileSync(
  passwd,
  [
    'root:x:0:0:root:/root:/bin/bash',
    '# a comment:x:9:9::/:/bin/false',
    'ada:x:1000:1000:Ada, Countess:/home/ada:/bin/zsh',
    'bare:x:1001:100::',
    '2000:x:2001:2001::/home/number:/bin/sh',
    'broken:x:abc:1::/:',
    '+nis',
    '',
  ].join('\n'),
);
writeFileSync(
  group,
  ['root:x:0:', 'users:x:100:ada,bare', 'ada:x:1000:', 'wheel:x:10:root,ada', 'empty:x:11', ''].join('\n'),
);

const users = new Users(passwd, group);

t.test('a user by name or uid has its groups, home and shell', (t) => {
  const ada = {
    uid: 1000,
    gid: 1000,
    groups: [1000, 100, 10],
    name: 'ada',
    home: '/home/ada',
    shell: '/bin/zsh',
  };
  t.strictSame(users.lookup('ada'), ada);
  t.strictSame(users.lookup('1000'), ada);
  t.strictSame(users.lookup('root'), {
    uid: 0,
    gid: 0,
    groups: [0, 10],
    name: 'root',
    home: '/root',
    shell: '/bin/bash',
  });
  t.strictSame(users.lookup('bare'), {
    uid: 1001,
    gid: 100,
    groups: [100],
    name: 'bare',
    home: '/',
    shell: '/bin/sh',
  });
  t.equal(users.nameOf(1000), 'ada');
  t.equal(users.nameOf(4711), undefined);
  t.equal(users.groupNameOf(10), 'wheel');
  t.end();
});

t.test('a group given is the primary one, and the others stay', (t) => {
  t.match(users.lookup('ada:wheel'), { uid: 1000, gid: 10, groups: [10, 100] });
  t.match(users.lookup('ada:4711'), { uid: 1000, gid: 4711, groups: [4711, 100, 10] });
  t.match(users.lookup('0:empty'), { uid: 0, gid: 11 });
  t.end();
});

t.test('a number needs no entry; a name that looks like a number is a name', (t) => {
  t.strictSame(users.lookup('4711'), {
    uid: 4711,
    gid: 4711,
    groups: [4711],
    name: undefined,
    home: '/',
    shell: '/bin/sh',
  });
  t.match(users.lookup('4711:users'), { uid: 4711, gid: 100, groups: [100] });
  t.match(users.lookup('2000'), { uid: 2001, name: '2000' });
  t.match(users.lookup('4294967294'), { uid: 4294967294 });
  t.end();
});

t.test('who is not there is refused by name', (t) => {
  for (const user of ['eve', '', '-1', '4294967295', '99999999999', 'broken', '+nis', ':wheel']) {
    t.throws(() => users.lookup(user), { code: 'unknown_user' }, user);
  }
  t.throws(() => users.lookup('eve'), { message: 'unknown user "eve"' });
  for (const name of ['ada:nobodies', 'ada:', 'ada:-1', 'ada:wheel:x'])
    t.throws(() => users.lookup(name), { code: 'unknown_group' }, name);
  t.end();
});

t.test('a change of the files is seen', (t) => {
  writeFileSync(`${passwd}.new`, 'grace:x:3000:3000::/home/grace:/bin/sh\n');
  renameSync(`${passwd}.new`, passwd);
  t.match(users.lookup('grace'), { uid: 3000 });
  t.throws(() => users.lookup('ada'), { code: 'unknown_user' });
  rmSync(passwd);
  t.throws(() => users.lookup('grace'), { code: 'unknown_user' });
  t.match(users.lookup('0'), { uid: 0, home: '/' });
  t.end();
});

t.test("this machine's own files are read", (t) => {
  t.match(new Users().lookup('root'), { uid: 0, gid: 0 });
  t.end();
});
