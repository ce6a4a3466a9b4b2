import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { recipes, recipesFolder } from '../../images/recipes.js';
import { connectWhenListening } from './guest.js';
import { skipWithoutQemu, testImage } from './image.js';

t.test('what lies in images/recipes/ is what recipes.ts makes', (t) => {
  t.strictSame(readdirSync(recipesFolder).toSorted(), Object.keys(recipes).toSorted());
  for (const [name, text] of Object.entries(recipes)) {
    t.equal(readFileSync(join(recipesFolder, name), 'utf8'), text, `${name}: npm run recipes`);
    if (name.endsWith('.sh')) t.doesNotThrow(() => execFileSync('sh', ['-n', join(recipesFolder, name)]));
  }
  t.end();
});

for (const name of ['qemu-microvm.sh', 'qemu-q35.sh'])
  t.test(`${name} runs`, { skip: skipWithoutQemu, timeout: 300_000 }, async (t) => {
    const run = mkdtempSync(join(tmpdir(), 'hawser-recipe-'));
    t.teardown(() => rmSync(run, { recursive: true, force: true }));
    const script = join(recipesFolder, name);
    const qemu = spawn('setpriv', ['--pdeathsig', 'SIGKILL', 'sh', script, testImage(), run], {
      stdio: 'inherit',
    });
    t.teardown(() => qemu.kill('SIGKILL'));
    const exited = once(qemu, 'exit');
    const early = exited.then(() => Promise.reject(new Error('QEMU ended')));
    early.catch(() => {});
    const agent = await Promise.race([early, connectWhenListening(`unix:${join(run, 'agent.sock')}`)]);
    t.match(await agent.exec('uname', ['-s']), { code: 0, stdout: 'Linux\n' });
    await agent.shutdown();
    t.strictSame(await exited, [0, null]);
    t.match(readFileSync(join(run, 'console.log'), 'latin1'), /Power down/);
  });
