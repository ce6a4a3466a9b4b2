import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Agent, connect } from '@hawser/host-client';
import t, { type Test } from 'tap';
import { Terminal, until, World } from './cli-world.js';

const world = new World({ built: true });
let agent: Agent;
const ids = new Map<string, string>();

/** Starts `sh -c` detached. */
async function start(name: string, script: string): Promise<void> {
  const session = await agent.spawn('sh', ['-c', script], {
    detached: true,
    stdin: 'null',
    labels: { name },
    cwd: world.dir,
    nice: 19,
  });
  ids.set(name, session.id);
  await session.detach();
}

t.before(async () => {
  await world.startAgent();
  agent = await connect(world.line);
  // Each is the first of one order.
  await start('zz-busy', 'while :; do :; done');
  await start('mm-large', "exec python3 -c 'x = bytearray(200 << 20); import time; time.sleep(600)'");
  await start('aa-many', 'sleep 600 & sleep 600 & sleep 600 & sleep 600 & sleep 600 & wait');
  await start(
    'nn-long',
    'exec sleep 600 # a comment that is much longer than what there is room for in eighty columns of a terminal',
  );
});
t.teardown(async () => {
  await agent.close();
  await world.close();
});

const saveModes = 'stty -a | tail -n +2 >modes.before';
const sameModes = 'stty -a | tail -n +2 >modes.after; cmp modes.before modes.after && echo same modes';

/** Runs the body in a terminal of its own, with its modes saved. */
function inTerminal(name: string, body: (t: Test, terminal: Terminal) => Promise<void>) {
  return t.test(name, async (t) => {
    const terminal = new Terminal(world);
    t.teardown(() => terminal.close());
    await terminal.shows(/shell> /);
    terminal.type(`${saveModes}; echo 'be'fore`, 'Enter');
    await terminal.shows(/^before$/m);
    await body(t, terminal);
  });
}

/** Names from above, in the order in which the screen has them. */
const namesOn = (screen: string): string[] =>
  [...screen.matchAll(/^\d+ +([a-z]{2}-[a-z]+)/gm)].map(([, name]) => name as string);

/** When that one is the first. */
const first = (terminal: Terminal, name: string): Promise<true> =>
  until(
    () => (namesOn(terminal.screen())[0] === name ? true : undefined),
    () => `${name} at the top of:\n${terminal.screen()}`,
  );

/** When the shell is back, with everything as it was. */
async function isAsBefore(t: Test, terminal: Terminal, code: number): Promise<void> {
  await terminal.shows(/^before\n[\s\S]*shell> $/m);
  t.notMatch(terminal.screen(), /SESSION/, 'what was shown is gone');
  terminal.type(`echo code=$?; ${sameModes}`, 'Enter');
  await terminal.shows(new RegExp(`^code=${code}\nsame modes`, 'm'));
  t.ok(terminal.showsCursor, 'the cursor is back');
}

inTerminal(
  'top shows what runs in 80 columns, sorted by what is asked for, and q quits',
  async (t, terminal) => {
    terminal.type('hawser top --interval 200ms', 'Enter');
    await terminal.shows(
      /^hawser top: unix:.*, every 0\.2 s\n4 sessions, 9 processes, CPU \d+\.\d %, memory \S+M, by CPU$/m,
    );
    await first(terminal, 'zz-busy');
    t.notOk(terminal.showsCursor);
    const screen = terminal.screen();
    t.match(screen, /^SESSION +NAME +CPU % +MEM +PEAK +PROCS +COMMAND *$/m);
    t.match(screen, /^\d+ +aa-many .* 6 +sh -c 'sleep 600 & sleep/m);
    const long = /^\d+ +nn-long .*$/m.exec(screen)?.[0] ?? '';
    t.match(long, /…$/);
    t.equal(long.length, 80, 'as wide as the terminal');
    t.equal(screen.trimEnd().split('\n').length, 24, 'as high as the terminal');
    t.match(screen, /q quit\n*$/);
    for (const [key, name] of [
      ['m', 'mm-large'],
      ['p', 'aa-many'],
      ['c', 'zz-busy'],
      ['n', 'aa-many'],
    ] as const) {
      terminal.type(key);
      await first(terminal, name);
    }
    t.same(namesOn(terminal.screen()), ['aa-many', 'mm-large', 'nn-long', 'zz-busy']);
    terminal.type('', 'Up', 'q'); // the first is no key of ours, and both come in one read
    await isAsBefore(t, terminal, 0);
  },
);

inTerminal('sessions come and go, and the size of the terminal is followed', async (t, terminal) => {
  terminal.type('hawser top --interval 200ms --sort name', 'Enter');
  await first(terminal, 'aa-many');
  await start('ab-new', 'exec sleep 600');
  await terminal.shows(/^\d+ +ab-new .* sh -c 'exec sleep 600'/m);
  await agent.sessions.killTree(ids.get('ab-new') as string);
  await until(
    () => (/ab-new/.test(terminal.screen()) ? undefined : true),
    () => `the end of ab-new on:\n${terminal.screen()}`,
  );
  t.same(namesOn(terminal.screen()), ['aa-many', 'mm-large', 'nn-long', 'zz-busy']);
  terminal.resize(120, 30);
  await terminal.shows(/^\d+ +nn-long .{80,}…$/m);
  await until(
    () => (terminal.screen().trimEnd().split('\n').length === 30 ? true : undefined),
    () => `30 lines:\n${terminal.screen()}`,
  );
  terminal.resize(80, 7);
  await terminal.shows(/^\d+ +aa-many .*\nand 3 more\nsort by: /m);
  terminal.type('', 'C-c');
  await terminal.shows(/shell> $/m);
  terminal.resize(80, 24);
  terminal.type(`clear; ${sameModes}`, 'Enter');
  await terminal.shows(/^same modes/m);
});

inTerminal('Ctrl-Z gives the terminal back until top is continued', async (t, terminal) => {
  terminal.type('hawser top --interval 200ms --sort name', 'Enter');
  await first(terminal, 'aa-many');
  terminal.type('', 'C-z');
  await terminal.shows(/^before\n[\s\S]*Stopped +hawser top/m);
  terminal.type(sameModes, 'Enter');
  await terminal.shows(/^same modes/m);
  terminal.type('clear; echo before; fg', 'Enter');
  await first(terminal, 'aa-many');
  terminal.type('q');
  await isAsBefore(t, terminal, 0);
});

inTerminal('the terminal is as before after SIGTERM', async (t, terminal) => {
  terminal.type("sh -c 'echo $$ >top.pid; exec hawser top --interval 200ms'", 'Enter');
  await first(terminal, 'zz-busy');
  process.kill(Number(readFileSync(join(world.dir, 'top.pid'), 'utf8')), 'SIGTERM');
  await isAsBefore(t, terminal, 143);
});

t.test('without a terminal tables are printed', async (t) => {
  const once = await world.run(['top', '--once', '--interval', '300ms', '--sort', 'memory']);
  t.equal(once.code, 0, once.stderr);
  const lines = once.stdout.toString().trimEnd().split('\n');
  t.match(lines[0], /^4 sessions, 9 processes, CPU \d+\.\d %, memory \S+M$/);
  t.match(lines[1], /^SESSION +NAME +CPU %/);
  t.same(namesOn(once.stdout.toString()).slice(0, 1), ['mm-large']);
  t.match(once.stdout.toString(), /eighty columns of a terminal'$/m, 'nothing is cut');
  t.match(
    once.stdout.toString(),
    /^\d+ +zz-busy +\d+\.\d /m,
    'processor use is known from the first table on',
  );
  const two = await world.run(['top', '-n', '2', '--interval', '100ms', world.line]);
  t.equal(two.stdout.toString().match(/^SESSION /gm)?.length, 2);
  const endless = world.start(['top', '--interval', '100ms']);
  await endless.printed(/(SESSION [\s\S]*){3}/);
  endless.child.kill('SIGINT');
  t.match(await endless.finished, { code: 130, stderr: '' });
  t.match(await world.run(['top', '--sort', 'size']), { code: 125, stderr: /cpu, memory, processes, name/ });
  t.match(await world.run(['top', '--interval', '50ms', '--once']), { code: 125, stderr: /intervalMs 50/ });
});

inTerminal('the terminal is as before when the agent is killed', async (t, terminal) => {
  terminal.type('hawser top --interval 200ms --connect-timeout 2s', 'Enter');
  await first(terminal, 'zz-busy');
  await agent.close(); // it would wait for another agent
  await world.stopAgent('SIGKILL');
  await terminal.shows(/^before\n[\s\S]*hawser: .*\n[\s\S]*shell> $/m);
  terminal.type(`echo code=$?; ${sameModes}`, 'Enter');
  await terminal.shows(/^code=125\nsame modes/m);
  t.notOk(existsSync(join(world.dir, 'agent.sock')));
});
