import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { startAgent } from '../support/agentd.js';
import { hawser, toolNames } from './model.js';

const inspector = fileURLToPath(import.meta.resolve('@modelcontextprotocol/inspector-cli/build/cli.js'));
/** It looks for its package.json from the working directory. */
const cwd = dirname(inspector);

const agentd = await startAgent();
t.teardown(() => agentd[Symbol.asyncDispose]());

/** Asks the server by the protocol's own inspector. @returns what it prints. */
async function inspect(method: string, ...args: string[]): Promise<Record<string, unknown>> {
  const words = [
    inspector,
    '--cli',
    process.execPath,
    hawser,
    'mcp',
    agentd.line,
    '--method',
    method,
    ...args,
  ];
  const child = spawn(process.execPath, words, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (text: Buffer) => (stdout += String(text)));
  child.stderr.on('data', (text: Buffer) => (stderr += String(text)));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`the inspector exited with ${code}: ${stderr}`);
  return JSON.parse(stdout) as Record<string, unknown>;
}

t.test('the inspector lists the tools', async (t) => {
  const { tools } = (await inspect('tools/list')) as { tools: { name: string }[] };
  t.same(
    tools.map(({ name }) => name),
    toolNames,
  );
});

t.test('the inspector calls tools', async (t) => {
  const call = (name: string, ...pairs: string[]): Promise<Record<string, unknown>> =>
    inspect('tools/call', '--tool-name', name, ...pairs.flatMap((pair) => ['--tool-arg', pair]));
  t.match(await call('exec', 'command=echo "$GREETING"; exit 3', 'env={"GREETING":"ahoy"}'), {
    structuredContent: { exitCode: 3, stdout: { text: 'ahoy\n' } },
  });
  const started = await call('start_process', 'argv=["sh","-c","echo up; sleep 1000"]', 'name=job');
  const { processId } = started['structuredContent'] as { processId: string };
  // Each of these is a server of its own.
  t.match(await call('read_process_output', `processId=${processId}`, 'waitMs=20000'), {
    structuredContent: { text: 'up\n' },
  });
  t.match(await call('kill_process', `processId=${processId}`), { structuredContent: { gone: true } });
  t.match(await call('wait_for_process', 'processId=abc'), {
    isError: true,
    content: [{ type: 'text', text: /no session "abc"\nCall list_processes/ }],
  });
});
