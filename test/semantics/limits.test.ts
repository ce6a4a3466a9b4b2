import { readFileSync } from 'node:fs';
import type { RlimitName, RlimitSetting, RlimitSettings } from '@hawser/host-client';
import { overEachLine } from './lines.js';

/** How /proc/PID/limits (proc_pid_limits(5)) calls them. */
const rows: Readonly<Record<RlimitName, string>> = {
  as: 'Max address space',
  core: 'Max core file size',
  cpu: 'Max cpu time',
  data: 'Max data size',
  fsize: 'Max file size',
  locks: 'Max file locks',
  memlock: 'Max locked memory',
  msgqueue: 'Max msgqueue size',
  nice: 'Max nice priority',
  nofile: 'Max open files',
  nproc: 'Max processes',
  rss: 'Max resident set',
  rtprio: 'Max realtime priority',
  rttime: 'Max realtime timeout',
  sigpending: 'Max pending signals',
  stack: 'Max stack size',
};
const names = Object.keys(rows) as RlimitName[];

type Shown = Record<string, readonly [soft: string, hard: string]>;

function shown(limits: string): Shown {
  const entries = names.map((name) => {
    const row = limits.split('\n').find((line) => line.startsWith(rows[name])) ?? '';
    const [soft = '', hard = ''] = row.slice(rows[name].length).trim().split(/\s+/);
    return [name, [soft, hard]] as const;
  });
  return Object.fromEntries(entries);
}

function asShown(settings: RlimitSettings): Shown {
  const entries = Object.entries(settings).map(([name, setting]: [string, RlimitSetting]) => {
    const { soft, hard } = typeof setting === 'object' ? setting : { soft: setting, hard: setting };
    return [name, [String(soft), String(hard)]] as const;
  });
  return Object.fromEntries(entries);
}

/** As high as an agent that may not raise limits (CAP_SYS_RESOURCE, bit 24) can go: it has ours. */
const ceilings = shown(readFileSync('/proc/self/limits', 'latin1'));
const mayRaise =
  (BigInt(`0x${/CapEff:\t(\w+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]}`) & (1n << 24n)) !== 0n;

function ceilingOf(name: string): number {
  const hard = ceilings[name]?.[1] ?? '0';
  return mayRaise || hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard);
}

/** Each with a value of its own, soft and hard. */
const different = Object.fromEntries(
  (
    [
      ['as', 4 * 2 ** 30, 5 * 2 ** 30],
      ['core', 1_000_000, 2_000_000],
      ['cpu', 100, 200],
      ['data', 2 ** 30, 2 ** 31],
      ['fsize', 1_000_001, 2_000_001],
      ['locks', 11, 12],
      ['memlock', 65_536, 131_072],
      ['msgqueue', 1001, 1002],
      ['nice', 5, 10],
      ['nofile', 64, 128],
      ['nproc', 1003, 1004],
      ['rss', 1005, 1006],
      ['rtprio', 3, 7],
      ['rttime', 500_000, 1_000_000],
      ['sigpending', 50, 60],
      ['stack', 4 * 2 ** 20, 8 * 2 ** 20],
    ] as const
  ).map(([name, soft, hard]) => {
    const most = ceilingOf(name);
    return [name, { soft: Math.min(soft, most), hard: Math.min(hard, most) }];
  }),
) as Record<RlimitName, { soft: number; hard: number }>;

/** The largest that 64 bits hold is "unlimited" itself. */
const large: RlimitSettings = {
  as: { soft: 2n ** 53n + 1n, hard: 2n ** 64n - 2n },
  fsize: { soft: 2n ** 60n + 3n, hard: 2n ** 63n + 5n },
  rttime: { soft: 1, hard: 'unlimited' },
};

/** So that `large` is a lowering, which anybody may do. */
const unbounded: RlimitSettings = { as: 'unlimited', fsize: 'unlimited', rttime: 'unlimited' };

overEachLine(async (t, { agent }) => {
  for (const tty of [false, true]) {
    const how = tty ? 'in a terminal' : 'with pipes';
    const limitsOf = async (rlimits: RlimitSettings): Promise<Shown> =>
      shown((await agent.exec('cat', ['/proc/self/limits'], { rlimits, tty })).stdout);

    await t.test(`all sixteen are in force at the first instruction, ${how}`, async (t) => {
      t.strictSame(await limitsOf(different), asShown(different));
    });

    await t.test(`each alone changes no other, ${how}`, async (t) => {
      const before = await limitsOf({});
      for (const name of names) {
        const { soft } = different[name];
        t.strictSame(
          await limitsOf({ [name]: soft }),
          { ...before, [name]: [String(soft), String(soft)] },
          name,
        );
      }
    });

    await t.test(`unlimited and 64-bit values, ${how}`, async (t) => {
      // Of open files, the kernel has a largest number, fs.nr_open.
      const all = names.filter((name) => name !== 'nofile' && ceilingOf(name) === Number.POSITIVE_INFINITY);
      const unlimited = Object.fromEntries(all.map((name) => [name, 'unlimited'])) as RlimitSettings;
      t.ok(all.length >= 8);
      t.match(await limitsOf(unlimited), asShown(unlimited));
      t.match(await limitsOf(large), asShown(large));
      t.match(await limitsOf({ core: 2n ** 64n - 1n, cpu: { soft: 7n, hard: 'unlimited' } }), {
        core: ['unlimited', 'unlimited'],
        cpu: ['7', 'unlimited'],
      });
      t.match(await limitsOf({ core: 0 }), { core: ['0', '0'] });
    });

    await t.test(`they are read and changed while the command runs, ${how}`, async (t) => {
      await using session = await agent.spawn('cat', [], { rlimits: { ...different, ...unbounded }, tty });
      const inForce = (): Shown => shown(readFileSync(`/proc/${session.pid}/limits`, 'latin1'));
      const before = { ...different, ...unbounded };
      t.strictSame(asShown(await session.rlimits()), asShown(before));
      t.strictSame(inForce(), asShown(before), 'reading changes nothing');
      const changed = { ...before, nofile: { soft: 10, hard: 20 }, ...large, rss: 1006 } as const;
      const reply = await session.setRlimits({ nofile: { soft: 10, hard: 20 }, ...large, rss: 1006 });
      t.strictSame(asShown(reply), asShown(changed));
      t.strictSame(inForce(), asShown(changed));
      t.strictSame(asShown(await session.rlimits()), asShown(changed));
      t.strictSame((await session.rlimits()).fsize, { soft: 2n ** 60n + 3n, hard: 2n ** 63n + 5n });
      t.strictSame((await session.rlimits()).rttime, { soft: 1n, hard: 'unlimited' });

      const refused = (settings: RlimitSettings): Promise<unknown> =>
        session.setRlimits({ cpu: 1000, ...settings });
      await t.rejects(refused({ nosuch: 1 } as RlimitSettings), { code: 'unknown_limit' });
      await t.rejects(refused({ fsize: { soft: 2, hard: 1 } }), { code: 'invalid_limit' });
      await t.rejects(refused({ fsize: 2n ** 64n }), { code: 'invalid_limit' });
      await t.rejects(refused({ fsize: -1 }), { code: 'invalid_limit' });
      t.strictSame(inForce(), asShown(changed), 'a request that is wrong changes nothing');
      await t.rejects(session.setRlimits({ nofile: 2 ** 40 }), { code: 'limit_not_allowed', errno: 'EPERM' });
      t.strictSame(inForce(), asShown(changed));

      await session.kill();
      await session.exited;
      await t.rejects(session.rlimits(), { code: 'session_ended' });
    });
  }

  await t.test('children have the limits too', async (t) => {
    const { stdout } = await agent.exec('sh', ['-c', 'sh -c "cat /proc/self/limits"'], {
      rlimits: different,
    });
    t.strictSame(shown(stdout), asShown(different));
  });

  await t.test('a limit does what it is for', async (t) => {
    const files = await agent.exec('sh', ['-c', 'exec 60</dev/null'], { rlimits: { nofile: 20 } });
    t.not(files.code, 0);
    const size = await agent.exec('sh', ['-c', 'head -c 5000 /dev/zero > "$F"'], {
      rlimits: { fsize: 4096 },
      env: { F: '/dev/shm/hawser-fsize-test' },
    });
    await agent.exec('rm', ['-f', '/dev/shm/hawser-fsize-test']);
    t.not(size.code, 0);
    t.match(
      await agent.exec('sh', ['-c', 'while :; do :; done'], { rlimits: { cpu: { soft: 1, hard: 2 } } }),
      { signal: 'SIGXCPU' },
    );
  });

  await t.test('descriptors of the launch count against no limit', async (t) => {
    for (const tty of [false, true]) {
      const { code } = await agent.exec('/bin/true', [], { rlimits: { nofile: 3 }, tty, oomScoreAdj: 5 });
      t.ok(code === 0 || code === 127, 'the dynamic loader may need one itself; the launch does not');
    }
  });
});
