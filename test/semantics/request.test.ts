import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Agent, ExecOptions } from '@hawser/host-client';
import { compile, folder, overEachLine } from './lines.js';

const printStrings = compile('print-strings');

type Text = string | Uint8Array;

interface Strings {
  readonly args: Buffer[];
  readonly env: Buffer[];
}

/** What a program sees when it is run so. */
async function seenBy(
  agent: Agent,
  cmd: Text,
  args: readonly Text[],
  options: ExecOptions = {},
): Promise<Strings> {
  const { stdout, code } = await agent.exec(cmd, args, { ...options, encoding: 'buffer' });
  if (code !== 0) throw new Error(`print-strings ended with ${code}`);
  const seen: Strings = { args: [], env: [] };
  for (let at = 0; at < stdout.length; ) {
    const kind = stdout.toString('latin1', at, at + 3) === 'arg' ? 'args' : 'env';
    const lengthEnd = stdout.indexOf(' ', at + 4);
    const length = Number(stdout.toString('latin1', at + 4, lengthEnd));
    seen[kind].push(stdout.subarray(lengthEnd + 1, lengthEnd + 1 + length));
    at = lengthEnd + length + 2;
  }
  return seen;
}

/** The variables of a command, by name. */
async function variablesOf(agent: Agent, options: ExecOptions = {}): Promise<Record<string, string>> {
  const { env } = await seenBy(agent, printStrings, [], options);
  const entries = env.map((entry) => entry.toString('latin1'));
  return Object.fromEntries(
    entries.map((entry) => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]),
  );
}

const notUtf8 = Buffer.from([0x66, 0xff, 0xfe, 0x80, 0xc3, 0x28]);
const idsCommand = 'id -u; id -g; id -G; grep ^Groups: /proc/self/status';

function sorted(ids: Iterable<string | undefined>): string {
  return [...ids].map(String).sort().join(' ');
}

/** The uid, gid and supplementary groups that a command runs with. */
async function identityOf(agent: Agent, user: string | undefined): Promise<(string | undefined)[]> {
  const { stdout } = await agent.exec('sh', ['-c', idsCommand], user === undefined ? {} : { user });
  const [uid, gid, , groups = ''] = stdout.split('\n');
  return [uid, gid, sorted(groups.replace('Groups:', '').trim().split(/\s+/))];
}

/** As initgroups(3) has it, from the machine's own files. */
function groupsOf(name: string, gid: string): string {
  const lines = readFileSync('/etc/group', 'utf8').split('\n');
  const listed = lines
    .filter((line) => (line.split(':')[3] ?? '').split(',').includes(name))
    .map((line) => line.split(':')[2]);
  return sorted(new Set([gid, ...listed]));
}

function passwdEntry(name: string): { uid: string; gid: string; home: string; shell: string } {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((text) => text.startsWith(`${name}:`));
  const [, , uid = '', gid = '', , home = '', shell = ''] = (line ?? '').split(':');
  return { uid, gid, home, shell };
}

/** Somebody with a supplementary group, where the machine has one; else anybody. */
function userWithGroups(): string {
  const names = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .map((line) => (line.split(':')[3] ?? '').split(',')[0] ?? '');
  const withEntry = names.find((name) => name !== '' && name !== 'root' && passwdEntry(name).uid !== '');
  return withEntry ?? 'daemon';
}

overEachLine(async (t, { agent, line }) => {
  const long = 'x'.repeat(131_071);
  const manyArgs = Array.from({ length: 10_000 }, (_, i) => `argument ${i}`);

  await t.test('arguments arrive byte for byte', async (t) => {
    const given: Text[] = [
      '',
      'a b',
      'two\nlines\n',
      '',
      '-n',
      '--',
      '"\'$`\\*',
      'né \u{1f6a2}',
      notUtf8,
      long,
      '',
    ];
    const { args } = await seenBy(agent, printStrings, given);
    t.equal(args[0]?.toString(), printStrings, 'the command itself is argument 0');
    t.equal(args.length, given.length + 1);
    given.forEach((arg, i) => t.ok(args[i + 1]?.equals(Buffer.from(arg as string)), `argument ${i + 1}`));
  });

  await t.test('many arguments arrive', async (t) => {
    const { args } = await seenBy(agent, printStrings, manyArgs);
    t.same(args.slice(1).map(String), manyArgs);
  });

  await t.test('several arguments of the longest length arrive together', async (t) => {
    const { args } = await seenBy(agent, printStrings, [long, long, long, long]);
    t.same(
      args.slice(1).map((arg) => arg.equals(Buffer.from(long))),
      [true, true, true, true],
    );
  });

  await t.test('a command and a working directory need not be UTF-8', async (t) => {
    const directory = Buffer.concat([Buffer.from(`${folder}/d-`), notUtf8]);
    const program = Buffer.concat([directory, Buffer.from('/p-'), notUtf8]);
    mkdirSync(directory, { recursive: true });
    copyFileSync(printStrings, program);
    const { args } = await seenBy(agent, program, []);
    t.ok(args[0]?.equals(program));
    const { stdout } = await agent.exec('pwd', ['-P'], { cwd: directory, encoding: 'buffer' });
    t.ok(stdout.equals(Buffer.concat([directory, Buffer.from('\n')])));
    const { args: found } = await seenBy(agent, Buffer.concat([Buffer.from('p-'), notUtf8]), [], {
      env: { PATH: directory },
    });
    t.equal(found.length, 1, 'also in a PATH that is not');
  });

  await t.test('variables arrive byte for byte', async (t) => {
    const env = {
      EQUALS: 'a=b=c',
      LINES2: 'one\ntwo\n',
      EMPTY: '',
      BYTES: notUtf8,
      UNICODE: 'né',
      ABSENT: undefined,
      'odd name': '1',
    };
    const { env: seen } = await seenBy(agent, printStrings, [], { env });
    const has = (entry: Text): boolean =>
      t.ok(
        seen.some((bytes) => bytes.equals(Buffer.from(entry as string))),
        String(entry),
      );
    for (const entry of ['EQUALS=a=b=c', 'LINES2=one\ntwo\n', 'EMPTY=', 'UNICODE=né', 'odd name=1'])
      has(entry);
    has(Buffer.concat([Buffer.from('BYTES='), notUtf8]));
    t.notOk(
      seen.some((entry) => entry.toString().startsWith('ABSENT')),
      'undefined is left out',
    );
  });

  await t.test('a variable of 128 KiB arrives', async (t) => {
    const value = 'y'.repeat(131_071 - 'BIG='.length);
    t.equal((await variablesOf(agent, { env: { BIG: value } }))['BIG'], value);
  });

  await t.test('a command starts with the variables of its user', async (t) => {
    const root = passwdEntry('root');
    const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
    const rootVariables = { PATH: path, HOME: root.home, SHELL: root.shell, USER: 'root', LOGNAME: 'root' };
    t.strictSame(await variablesOf(agent), rootVariables);
    t.equal((await agent.exec('sh', ['-c', 'echo $TERM'], { tty: true })).stdout, 'xterm-256color\r\n');
    const daemon = passwdEntry('daemon');
    t.strictSame(await variablesOf(agent, { user: 'daemon' }), {
      PATH: path,
      HOME: daemon.home,
      SHELL: daemon.shell,
      USER: 'daemon',
      LOGNAME: 'daemon',
    });
    t.strictSame(
      await variablesOf(agent, { user: '4000000' }),
      { PATH: path, HOME: '/', SHELL: '/bin/sh' },
      'a uid without an entry',
    );
    const given = { HOME: '/elsewhere', PATH: '/bin', USER: 'somebody' };
    t.strictSame(
      await variablesOf(agent, { env: given }),
      { ...rootVariables, ...given },
      'what is given wins',
    );
  });

  await t.test('a bare name is looked up in the PATH of the request', async (t) => {
    const directory = join(folder, 'bin');
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'only-here'), '#!/bin/sh\necho "from $0"\n', { mode: 0o755 });
    const found = await agent.exec('only-here', [], { env: { PATH: `/nowhere:${directory}:/bin:/usr/bin` } });
    t.equal(found.stdout, `from ${directory}/only-here\n`);
    await t.rejects(agent.exec('only-here'), { code: 'not_found' }, 'not in the default one');
    await t.rejects(agent.exec('sh', ['-c', 'true'], { env: { PATH: '/nowhere' } }), { code: 'not_found' });
    const here = await agent.exec('only-here', [], { cwd: directory, env: { PATH: '/nowhere:' } });
    t.equal(here.stdout, 'from ./only-here\n', 'an empty part is the working directory');
    const relative = await agent.exec('./only-here', [], { cwd: directory });
    t.equal(relative.stdout, 'from ./only-here\n', 'a path with a slash starts there too');
  });

  await t.test('a script needs no shell that the request does not name', async (t) => {
    const { stdout } = await agent.exec('/bin/echo', ['$HOME', '*', ';', 'exit']);
    t.equal(stdout, '$HOME * ; exit\n');
  });

  await t.test('the working directory is the one asked for', async (t) => {
    const link = join(folder, `link-${line}`);
    mkdirSync(join(folder, 'real dir'), { recursive: true });
    symlinkSync('real dir', link);
    t.equal((await agent.exec('pwd', ['-P'], { cwd: link })).stdout, `${join(folder, 'real dir')}\n`);
    t.equal((await agent.exec('pwd', [], { cwd: '/tmp', tty: true })).stdout, '/tmp\r\n');
  });

  await t.test('the umask is 022, or the one asked for', async (t) => {
    t.equal((await agent.exec('sh', ['-c', 'umask'])).stdout, '0022\n');
    for (const umask of [0, 0o77, 0o777]) {
      const { stdout } = await agent.exec('sh', ['-c', 'umask'], { umask });
      t.equal(Number.parseInt(stdout, 8), umask);
    }
  });

  await t.test('nice, oom_score_adj and no_new_privs are as asked for', async (t) => {
    const script = 'ps -o ni= -p $$; cat /proc/$$/oom_score_adj; grep ^NoNewPrivs /proc/$$/status';
    const { stdout } = await agent.exec('sh', ['-c', script], {
      nice: 7,
      oomScoreAdj: 123,
      noNewPrivileges: true,
    });
    t.match(stdout, /^\s*7\n123\nNoNewPrivs:\s1\n$/);
  });

  await t.test(
    'a user is a name, a number, or either with a group',
    { skip: process.getuid?.() !== 0 },
    async (t) => {
      const name = userWithGroups();
      const { uid, gid } = passwdEntry(name);
      t.strictSame(
        await identityOf(agent, undefined),
        await identityOf(agent, 'root').then(([u, g]) => [u, g, '']),
        'none: as the agent is',
      );
      t.strictSame(await identityOf(agent, name), [uid, gid, groupsOf(name, gid)], name);
      t.strictSame(await identityOf(agent, uid), [uid, gid, groupsOf(name, gid)], `${uid} is ${name}`);
      t.strictSame(
        await identityOf(agent, `${name}:games`),
        [uid, '60', groupsOf(name, '60')],
        'another group',
      );
      t.strictSame(await identityOf(agent, `${uid}:60`), [uid, '60', groupsOf(name, '60')]);
      t.strictSame(
        await identityOf(agent, '4000000:5000000'),
        ['4000000', '5000000', '5000000'],
        'without an entry',
      );
      t.strictSame(await identityOf(agent, '4000000'), ['4000000', '4000000', '4000000'], 'without an entry');
      t.strictSame(await identityOf(agent, 'root'), ['0', '0', groupsOf('root', '0')]);
    },
  );

  await t.test('another user also has the terminal', { skip: process.getuid?.() !== 0 }, async (t) => {
    const { stdout } = await agent.exec(
      'sh',
      ['-c', 'id -un; echo x > "$(tty <&2)"; : < /dev/tty && echo yes'],
      { user: 'nobody', tty: true },
    );
    t.equal(stdout, 'nobody\r\nx\r\nyes\r\n');
  });
});
