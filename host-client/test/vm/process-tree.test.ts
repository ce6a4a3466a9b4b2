import type { ChildProcessByStdio } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { LinuxProcessTree } from '../../src/vm/process-tree/linux-process-tree.js';
import { identify } from '../../src/vm/registry/process-identity.js';

const owner = fileURLToPath(new URL('./fixtures/tree-owner.ts', import.meta.url));
const nodeArguments = ['--import', './tooling/typescript.mjs', '--conditions=@hawser/source'];
const waitMs = 20_000;

interface Owner {
  readonly child: ChildProcessByStdio<Writable, Readable, null>;
  readonly printed: (pattern: RegExp) => Promise<RegExpExecArray>;
}

function start(script: string): Owner {
  const child = spawn(process.execPath, [...nodeArguments, owner, script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.setEncoding('utf8');
  const printed = async (pattern: RegExp): Promise<RegExpExecArray> => {
    for (;;) {
      const match = pattern.exec(text);
      if (match !== null) return match;
      text += String((await once(child.stdout, 'data', { signal: AbortSignal.timeout(waitMs) }))[0]);
    }
  };
  return { child, printed };
}

/** A process that is no child of ours says nothing when it goes. */
async function gone(pid: number): Promise<true> {
  const deadline = Date.now() + waitMs;
  while (identify(pid) !== undefined) {
    if (Date.now() > deadline) throw new Error(`${pid} is still there`);
    await delay(10);
  }
  return true;
}

t.test('kill ends the whole tree, with what left its group and session and was orphaned', async (t) => {
  const { child, printed } = start(
    // The grandchild's parent ends at once: it is the subreaper's then.
    `(setsid sh -c 'echo deep $$; trap "" TERM; sleep 1000' &) ; echo leader $$; sleep 1000`,
  );
  const deep = Number((await printed(/deep (\d+)/))[1]);
  const leader = Number((await printed(/leader (\d+)/))[1]);
  t.equal(Number((await printed(/member (\d+)/))[1]), leader, 'the wrapper made way for the program');
  t.ok(identify(deep) !== undefined && identify(leader) !== undefined);
  child.stdin.write('kill\n');
  await printed(/empty/);
  t.equal(identify(deep), undefined);
  t.equal(identify(leader), undefined);
});

t.test('a member dies with the process that holds the tree, also when that is killed', async (t) => {
  const { child, printed } = start('exec sleep 1000');
  const member = Number((await printed(/member (\d+)/))[1]);
  t.ok(identify(member));
  child.kill('SIGKILL');
  t.ok(await gone(member));
});

t.test("a program that is not there fails as itself, and not as the wrapper's exit code", async (t) => {
  const tree = new LinuxProcessTree();
  const options = { cwd: '/', stdio: 'ignore' } as const;
  await t.rejects(tree.spawn('no-such-hypervisor', [], options), { code: 'ENOENT' });
  await t.rejects(tree.spawn('/etc/passwd', [], options), { code: 'EACCES' });
});
