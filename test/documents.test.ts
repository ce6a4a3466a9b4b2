import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { errorCodes } from '@hawser/protocol';
import { test } from 'tap';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

const documents = ['README.md', 'CHANGELOG.md', ...markdown('docs'), ...markdown('images')];

function markdown(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.md'))
    .map((path) => join(folder, path));
}

test('errors.md has one paragraph for each code, in the order of errors.ts', (t) => {
  const text = read('docs/errors.md');
  t.same(
    all(text, /^### `(\w+)`$/gm),
    errorCodes.map((code) => code),
  );
  for (const paragraph of text.split(/^### /m).slice(1))
    t.match(paragraph, /^`\w+`\n\n\S/, `${paragraph.split('\n')[0]} is explained`);
  t.end();
});

test('relative links lead to files', (t) => {
  for (const document of documents) {
    for (const link of all(read(document), /\]\(([^)#\s]+)[^)]*\)/g)) {
      if (/^[a-z]+:/.test(link)) continue;
      t.ok(existsSync(resolve(root, dirname(document), link)), `${document}: ${link}`);
    }
  }
  t.end();
});

test('the packages, their sources and each other agree on the version', (t) => {
  const { version } = JSON.parse(read('package.json')) as { version: string };
  for (const name of ['protocol', 'agentd', 'host-client']) {
    const manifest = JSON.parse(read(`${name}/package.json`)) as {
      version: string;
      dependencies: Record<string, string>;
    };
    t.equal(manifest.version, version, name);
    for (const [dependency, range] of Object.entries(manifest.dependencies))
      if (dependency.startsWith('@hawser/')) t.equal(range, `^${version}`, `${name} needs ${dependency}`);
  }
  for (const source of ['agentd/src/version.ts', 'host-client/src/version.ts'])
    t.same(all(read(source), /Version = '([^']+)'/g), [version], source);
  t.end();
});

test("Node's flags for the agent are the same everywhere", (t) => {
  const flags = (JSON.parse(read('agentd/node-flags.json')) as string[]).join(' ');
  t.equal(read('agentd/bin/hawser-agentd.js').split('\n')[0], `#!/usr/bin/env -S node ${flags}`);
  t.match(read('docs/howto/agentd.md'), `node ${flags} `);
  t.end();
});

test('the flags that the documents mention exist', async (t) => {
  const hawser = (...args: string[]): Promise<string> =>
    run([join(root, 'host-client/bin/hawser.js'), ...args, '--help']);
  const registry = ['ps', 'top', 'logs', 'wait', 'kill', 'rm', 'inspect'];
  const others = ['exec', 'attach', 'relay', 'run', 'doctor', 'completion'];
  const commands = [...others, ...registry].map((name) => [name]);
  const ofVms = ['ls', 'stop', 'kill', 'logs'].map((name) => ['vm', name]);
  const helps = await Promise.all([[], ...commands, ...ofVms].map((words) => hawser(...words)));
  const agentd = await run([join(root, 'agentd/bin/hawser-agentd.js'), '--help']);
  const known = new Set(all([...helps, agentd].join('\n'), /(?<![\w-])(--?[a-z][\w-]*)/gi));
  for (const document of [
    'README.md',
    'docs/howto/cli.md',
    'docs/howto/relay.md',
    'docs/howto/vm.md',
    'docs/howto/agentd.md',
  ]) {
    for (const line of commandLines(read(document))) {
      // What follows the line's "--" is the command's own.
      const own = line.split(/ -- /)[0] as string;
      for (const flag of all(own, /(?<=\s)(--[a-z][\w-]*|-[a-zA-Z]+)(?=[\s=]|$)/g)) {
        const each = flag.startsWith('--') ? [flag] : all(flag, /(\w)/g).map((letter) => `-${letter}`);
        for (const one of each) t.ok(known.has(one), `${document}: ${flag} in ${line.trim()}`);
      }
    }
  }
});

test('agentd.md has every setting, under its flag', async (t) => {
  const source = read('agentd/src/config.ts');
  const schema = source.slice(source.indexOf('v.strictObject('), source.indexOf('export type Config'));
  const settings = all(schema, /^ {2}(\w+): /gm);
  t.ok(settings.includes('listen'), 'the settings were found');
  const usage = await run([join(root, 'agentd/bin/hawser-agentd.js'), '--help']);
  const rows = all(read('docs/howto/agentd.md'), /^\| `(\w+)` +\| `--/gm);
  t.same(rows.toSorted(), settings.toSorted());
  for (const [, setting, flag] of read('docs/howto/agentd.md').matchAll(/^\| `(\w+)` +\| `(--[\w-]+)`/gm))
    t.ok(new RegExp(`^ +${flag}$`, 'm').test(usage), `${setting}: ${flag}`);
});

test("the library's examples run", async (t) => {
  const recipes = blocks(read('docs/howto/library.md')).map(
    (recipe) => `import { connect, HawserError } from '@hawser/host-client';
      const agent = await connect('local:');
      try { ${recipe} } finally { await agent.close(); }`,
  );
  t.ok(recipes.length > 10, 'they were found');
  const [whole = ''] = blocks(read('README.md'));
  t.match(await runModule(whole), /not_found exec ENOENT\n$/, 'of the README');
  for (const [index, recipe] of recipes.entries())
    t.type(await runModule(recipe), 'string', `recipe ${index + 1}`);
});

/** What the first group of a pattern matched, each time. */
function all(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map((match) => match[1] as string);
}

/** The indented lines, and the spans, that run one of our programs. */
function commandLines(text: string): string[] {
  const indented = all(text, /^ {4}(.*\bhawser(?:-agentd)?(?: |$).*)$/gm);
  const spans = all(text, /`((?:npx )?hawser(?:-agentd)? [^`]*)`/g);
  return [...indented, ...spans].map((line) => line.replace(/^.*?(?=\bhawser(-agentd)? )/, ''));
}

/** The JavaScript blocks. */
function blocks(text: string): string[] {
  return all(text, /^```js\n([\s\S]*?)^```$/gm);
}

function runModule(source: string): Promise<string> {
  return run(['--input-type=module'], source);
}

/** @returns what the program wrote to stdout. @throws Error with what it wrote to stderr, unless it exits with 0. */
async function run(args: readonly string[], input = ''): Promise<string> {
  const child = spawn(process.execPath, args, { cwd: root, stdio: 'pipe' });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  child.stdin.end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${args.join(' ')} exited with ${code}: ${stderr}\n${input}`);
  return stdout;
}
