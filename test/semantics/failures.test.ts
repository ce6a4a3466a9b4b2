import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Agent, SpawnOptions } from '@hawser/host-client';
import { HawserError } from '@hawser/host-client';
import { defaultLimits, MessageCodec } from '@hawser/protocol';
import { settled } from '../load/world.js';
import { descriptorsOf, eventually, folder, overEachLine, Transcript } from './lines.js';

const isRoot = process.getuid?.() === 0;
const at = (name: string): string => join(folder, name);
writeFileSync(at('plain'), 'x', { mode: 0o644 });
writeFileSync(at('no-interpreter'), '#!/no/such/interpreter\n', { mode: 0o755 });
writeFileSync(at('no-format'), Buffer.from([1, 2, 3, 4]), { mode: 0o755 });
writeFileSync(at('wrong-machine'), wrongMachine(), { mode: 0o755 });
writeFileSync(at('for-root-only'), '#!/bin/sh\n', { mode: 0o700 });
mkdirSync(at('private'));
writeFileSync(at('private/program'), '#!/bin/sh\n', { mode: 0o755 });
chmodSync(at('private'), 0o700);
symlinkSync('loop', at('loop'));
mkdirSync(at('shadow'));
writeFileSync(at('shadow/ls'), 'not executable', { mode: 0o644 });

/** An ELF header of a machine that nobody has. */
function wrongMachine(): Buffer {
  const header = Buffer.from(readFileSync('/bin/true').subarray(0, 4096));
  header.writeUInt16LE(0x1234, 18);
  return header;
}

interface Failing {
  readonly cmd?: string | Uint8Array;
  readonly args?: readonly string[];
  readonly options?: SpawnOptions;
  readonly code: string;
  readonly stage: string;
  readonly errno?: string;
  /** What the message must name. */
  readonly names: RegExp;
}

const failures: Readonly<Record<string, Failing>> = {
  'a command that is not in PATH': {
    cmd: 'no-such-command',
    code: 'not_found',
    stage: 'exec',
    errno: 'ENOENT',
    names: /no-such-command/,
  },
  'a path where nothing is': {
    cmd: '/no/such',
    code: 'not_found',
    stage: 'exec',
    errno: 'ENOENT',
    names: /\/no\/such/,
  },
  'a path through a file': {
    cmd: '/etc/passwd/x',
    code: 'not_found',
    stage: 'exec',
    errno: 'ENOTDIR',
    names: /passwd/,
  },
  'an empty command': { cmd: '', code: 'not_found', stage: 'lookup', names: /empty/ },
  'a file without execute permission': {
    cmd: at('plain'),
    code: 'not_executable',
    stage: 'exec',
    errno: 'EACCES',
    names: /plain/,
  },
  'such a file in PATH': {
    cmd: 'ls',
    options: { env: { PATH: at('shadow') } },
    code: 'not_executable',
    stage: 'exec',
    errno: 'EACCES',
    names: /shadow\/ls/,
  },
  'a folder': {
    cmd: '/tmp',
    code: 'not_executable',
    stage: 'exec',
    errno: 'EACCES',
    names: /\/tmp.*directory/,
  },
  'a file that is no program': {
    cmd: at('no-format'),
    code: 'not_executable',
    stage: 'exec',
    errno: 'ENOEXEC',
    names: /no-format/,
  },
  'a program for another machine': {
    cmd: at('wrong-machine'),
    code: 'not_executable',
    stage: 'exec',
    errno: 'ENOEXEC',
    names: /wrong-machine/,
  },
  'a script whose interpreter is missing': {
    cmd: at('no-interpreter'),
    code: 'interpreter_not_found',
    stage: 'exec',
    errno: 'ENOENT',
    names: /no-interpreter.*interpreter/,
  },
  'links in a circle': {
    cmd: at('loop'),
    code: 'launch_failed',
    stage: 'exec',
    errno: 'ELOOP',
    names: /loop/,
  },
  'a working directory that is not there': {
    options: { cwd: '/no/such/place' },
    code: 'cwd_not_found',
    stage: 'cwd',
    errno: 'ENOENT',
    names: /\/no\/such\/place/,
  },
  'a working directory that is a file': {
    options: { cwd: '/etc/passwd' },
    code: 'cwd_not_found',
    stage: 'cwd',
    errno: 'ENOTDIR',
    names: /passwd/,
  },
  'an unknown user': {
    options: { user: 'no-such-user' },
    code: 'unknown_user',
    stage: 'validate',
    names: /no-such-user/,
  },
  'an unknown group': {
    options: { user: 'daemon:no-such-group' },
    code: 'unknown_group',
    stage: 'validate',
    names: /no-such-group/,
  },
  'a uid that is none': {
    options: { user: '4294967295' },
    code: 'unknown_user',
    stage: 'validate',
    names: /4294967295/,
  },
  'an unknown limit': {
    options: { rlimits: { nosuch: 1 } as SpawnOptions['rlimits'] & object },
    code: 'unknown_limit',
    stage: 'validate',
    names: /nosuch.*nofile/,
  },
  'a soft limit above the hard one': {
    options: { rlimits: { nofile: { soft: 20, hard: 10 } } },
    code: 'invalid_limit',
    stage: 'validate',
    names: /nofile.*20.*10/,
  },
  'a limit that is no whole number': {
    options: { rlimits: { cpu: 1.5 } },
    code: 'invalid_limit',
    stage: 'validate',
    names: /cpu.*1\.5/,
  },
  'a limit above what is allowed': {
    options: { rlimits: { nofile: 2 ** 40 } },
    code: 'limit_not_allowed',
    stage: 'rlimit',
    errno: 'EPERM',
    names: /nofile.*1099511627776/,
  },
  'a variable with a NUL in its value': {
    options: { env: { BAD: 'secret\0value' } },
    code: 'invalid_env',
    stage: 'validate',
    names: /BAD/,
  },
  'a variable without a name': {
    options: { env: { '': 'x' } },
    code: 'invalid_env',
    stage: 'validate',
    names: /name/,
  },
  'a variable whose name has an equals sign': {
    options: { env: { 'A=B': 'x' } },
    code: 'invalid_env',
    stage: 'validate',
    names: /A=B/,
  },
  'an argument with a NUL': { args: ['a\0b'], code: 'invalid_argument', stage: 'validate', names: /NUL/ },
  'a command with a NUL': { cmd: '/bin/a\0b', code: 'invalid_argument', stage: 'validate', names: /NUL/ },
  'a working directory with a NUL': {
    options: { cwd: '/a\0b' },
    code: 'invalid_argument',
    stage: 'validate',
    names: /NUL/,
  },
  'an unknown kill signal': {
    options: { killSignal: 'SIGNOTHING' },
    code: 'unknown_signal',
    stage: 'validate',
    names: /SIGNOTHING/,
  },
  'a umask that is none': {
    options: { umask: 0o1000 },
    code: 'invalid_argument',
    stage: 'validate',
    names: /umask.*512/,
  },
  'a nice value that is none': {
    options: { nice: 20 },
    code: 'invalid_argument',
    stage: 'validate',
    names: /nice.*20/,
  },
  'a size that no terminal has': {
    options: { tty: { rows: 65_536 } },
    code: 'invalid_argument',
    stage: 'validate',
    names: /rows.*65536/,
  },
  'a umask that is no number': {
    options: { umask: 1.5 },
    code: 'invalid_argument',
    stage: 'validate',
    names: /umask.*1\.5/,
  },
  'a timeout of nothing': {
    options: { timeoutMs: 0 },
    code: 'invalid_argument',
    stage: 'validate',
    names: /timeoutMs/,
  },
  'one argument of more than 128 KiB': {
    args: ['x'.repeat(131_072)],
    code: 'arguments_too_long',
    stage: 'exec',
    errno: 'E2BIG',
    names: /131,0/,
  },
  'more arguments than the kernel takes': {
    args: Array.from({ length: 30 }, () => 'x'.repeat(100_000)),
    code: 'arguments_too_long',
    stage: 'exec',
    errno: 'E2BIG',
    names: /3,000,/,
  },
  ...(isRoot && {
    'a program of somebody else': {
      cmd: at('for-root-only'),
      options: { user: 'nobody' },
      code: 'permission_denied',
      stage: 'exec',
      errno: 'EACCES',
      names: /for-root-only/,
    },
    'a program in a folder of somebody else': {
      cmd: at('private/program'),
      options: { user: 'nobody' },
      code: 'permission_denied',
      stage: 'exec',
      errno: 'EACCES',
      names: /private\/program/,
    },
    'a working directory of somebody else': {
      options: { user: 'nobody', cwd: at('private') },
      code: 'cwd_not_accessible',
      stage: 'cwd',
      errno: 'EACCES',
      names: /private/,
    },
  }),
};

/** The error of a command that must not start. */
async function failureOf(
  agent: Agent,
  { cmd = 'true', args = [], options = {} }: Failing,
  tty: boolean,
): Promise<HawserError> {
  try {
    const session = await agent.spawn(cmd, args, { tty, ...options });
    await session[Symbol.asyncDispose]();
  } catch (error) {
    if (error instanceof HawserError) return error;
    throw error;
  }
  throw new Error('it started');
}

/** Makes requests with fields that this host's library would not send. */
async function asSentBy<T>(fields: object, work: () => Promise<T>): Promise<T> {
  const encode = Reflect.get<typeof MessageCodec.prototype, 'encode'>(MessageCodec.prototype, 'encode');
  MessageCodec.prototype.encode = function (name, payload, headroom) {
    return encode.call(this, name, name === 'ExecRequest' ? { ...payload, ...fields } : payload, headroom);
  };
  try {
    return await work();
  } finally {
    MessageCodec.prototype.encode = encode;
  }
}

/** Empty for one that is gone. */
function nameOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'latin1');
  } catch {
    return '';
  }
}

/** What must not grow: descriptors, children and threads of the agent. */
function holdings(pid: number): Record<string, number> {
  const tasks = readdirSync(`/proc/${pid}/task`);
  const children = tasks
    .flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, 'latin1').split(' ').filter(Boolean),
    )
    .filter((child) => !['', 'hawser-watchdog\n'].includes(nameOf(child)));
  return { descriptors: descriptorsOf(pid).length, children: children.length, threads: tasks.length };
}

overEachLine(async (t, { agent, agentd }) => {
  for (const tty of [false, true]) {
    for (const [name, failing] of Object.entries(failures)) {
      await t.test(`${name}, ${tty ? 'in a terminal' : 'with pipes'}`, async (t) => {
        const error = await failureOf(agent, failing, tty);
        t.equal(error.code, failing.code);
        t.equal(error.stage, failing.stage);
        t.equal(error.errno, failing.errno);
        t.match(error.message, failing.names);
        t.notMatch(error.message, /secret/, 'values of variables are not told');
      });
    }
  }

  await t.test('exec fails as spawn does', async (t) => {
    await t.rejects(agent.exec('no-such-command'), {
      name: 'HawserError',
      code: 'not_found',
      stage: 'exec',
      errno: 'ENOENT',
    });
    await t.rejects(agent.exec('true', [], { input: 'x', cwd: '/no/such' }), { code: 'cwd_not_found' });
  });

  await t.test('a request that no message holds is refused by name', async (t) => {
    const many = Array.from({ length: 100 }, () => 'x'.repeat(100_000));
    await t.rejects(agent.exec('true', many), { code: 'arguments_too_long' });
    const tooMany = Array.from({ length: defaultLimits.messageListMax + 1 }, () => '');
    await t.rejects(agent.exec('true', tooMany), HawserError, 'not even as a list');
  });

  await t.test('a request that another host makes is checked as well', async (t) => {
    const refused = async (fields: object, code: string): Promise<void> => {
      const expected = { name: 'HawserError', code, stage: 'validate' };
      await t.rejects(
        asSentBy(fields, () => agent.exec('true')),
        expected,
        JSON.stringify(fields),
      );
    };
    await refused({ env: ['NO_EQUALS_SIGN'] }, 'invalid_env');
    await refused({ env: ['GOOD=1', '=no name'] }, 'invalid_env');
    await refused({ env: [''] }, 'invalid_env');
    await refused({ rlimits: [{ resource: 'nofile', soft: -1, hard: 5 }] }, 'invalid_argument');
    await refused({ rlimits: [{ resource: 'cpu', soft: 3, hard: 2 }] }, 'invalid_limit');
    await refused({ cmd: undefined }, 'invalid_argument');
    await refused({ cmd: 7 }, 'invalid_argument');
    await refused({ tty: { rows: -1, cols: 5 } }, 'invalid_argument');
    // What is left out in silence would be found out too late.
    await refused({ cgroup: { cpuMax: 0 } }, 'invalid_argument');
    await refused({ key: '' }, 'invalid_argument');
    await refused({ onDisconnect: { action: 'forget' } }, 'invalid_argument');
    await refused({ onDisconnect: { action: 'kill', afterMs: 2 ** 40 } }, 'invalid_argument');
    await refused({ historyBytes: 2 ** 40 }, 'invalid_argument');
    await refused({ whenFull: 'dropNewest' }, 'invalid_argument');
    const env = ['TWICE=first', 'OTHER=x', 'TWICE=second', Buffer.from('TWICE=last')];
    const { stdout } = await asSentBy({ env, later: 'unknown fields are a later host' }, () =>
      agent.exec('sh', ['-c', 'echo $TWICE $OTHER']),
    );
    t.equal(stdout, 'last x\n', 'the last of a name wins');
  });

  await t.test('an error of the command itself is none of these', async (t) => {
    for (const code of [126, 127, 255]) t.equal((await agent.exec('sh', ['-c', `exit ${code}`])).code, code);
    t.match(await agent.exec('sh', ['-c', 'no-such-command']), { code: 127, stderr: /no-such-command/ });
  });

  await t.test('after hundreds of failures nothing is left behind', async (t) => {
    // More at a time than below, and all of them at once: it keeps the cgroups that it has made for so many.
    const many = await Promise.all(Array.from({ length: 12 }, () => agent.spawn('cat')));
    for (const { stdin, stdout } of many) {
      stdin?.end();
      stdout.resume();
    }
    await Promise.all(many.map((session) => session.closed));
    // The agent waits for the last of the dead when it hears of them, with their descriptors.
    const holdingsAtRest = async (): Promise<Record<string, number>> => {
      // After one of each kind, which has it make what the next one needs.
      for (const tty of [false, true]) await agent.exec('true', [], { tty });
      await eventually(() => holdings(agentd.pid)['children'] === 0);
      await settled('descriptors', () => descriptorsOf(agentd.pid).length);
      return holdings(agentd.pid);
    };
    const before = await holdingsAtRest();
    let failed = 0;
    for (let round = 0; round < 4; round++) {
      for (const failing of Object.values(failures)) {
        const both = await Promise.all([failureOf(agent, failing, false), failureOf(agent, failing, true)]);
        failed += both.length;
      }
    }
    t.ok(failed >= 200, `${failed} failures`);
    t.strictSame(await holdingsAtRest(), before);
    t.match(await agent.info(), { sessionsRunning: 0, launchesPending: 0 });
    t.equal((await agent.exec('echo', ['still here'])).stdout, 'still here\n');
  });
});

overEachLine(
  async (t, { agent }) => {
    await t.test('one session too many is refused, until one ends', async (t) => {
      await using first = await agent.spawn('cat');
      await using second = await agent.spawn('cat', [], { tty: true });
      await t.rejects(agent.spawn('cat'), {
        code: 'too_many_sessions',
        stage: 'validate',
        message: /sessionsMax 2/,
      });
      await t.rejects(agent.exec('true'), { code: 'too_many_sessions' });
      first.stdin?.end('whole');
      t.equal(await new Transcript(first.stdout).rest(), 'whole', 'the others go on');
      await first.exited;
      t.equal((await agent.exec('echo', ['room'])).stdout, 'room\n');
      await second.kill();
      await second.exited;
    });

    await t.test('failed launches and ended sessions take no room', async (t) => {
      await using beside = await agent.spawn('cat');
      const codes = new Set<string>();
      for (let i = 0; i < 100; i++) {
        await agent.exec(i % 2 === 0 ? '/no/such' : 'true', [], { tty: i % 4 < 2 }).then(
          (result) => codes.add(`exit code ${result.code}`),
          (error: unknown) => codes.add((error as HawserError).code),
        );
      }
      t.strictSame([...codes].sort(), ['exit code 0', 'not_found']);
      t.ok(beside.pid > 0);
    });
  },
  { args: ['--sessions-max', '2'] },
);
