import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { completionScript } from '../src/cli/completion.js';
import { createProgram } from '../src/cli/program.js';

const program = createProgram(undefined, () => undefined);
const dir = t.testdir({ 'a dir': {}, "it's": '', 'script.bash': completionScript('bash', program) });

/**
 * What bash offers with the cursor behind these words. The words are split as bash splits a line, so that
 * `unix:/run` is three of them; readline does that itself and cannot be called.
 */
function complete(...words: string[]): string[] {
  const script = `
    source "$1"; shift
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _hawser
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr, status } = spawnSync(
    'bash',
    ['--noprofile', '--norc', '-c', script, 'bash', join(dir, 'script.bash'), ...words],
    { encoding: 'utf8', cwd: dir },
  );
  t.equal(stderr, '', `no complaint about ${words.join(' ')}`);
  t.equal(status, 0);
  return stdout.split('\n').filter((line) => line !== '');
}

t.test('bash completes commands, options and values', (t) => {
  const registry = ['ps', 'top', 'logs', 'wait', 'kill', 'rm', 'inspect'];
  const others = ['relay', 'run', 'vm', 'mcp', 'doctor', 'completion', 'help'];
  t.same(complete('hawser', ''), ['exec', 'attach', ...registry, ...others]);
  t.same(complete('hawser', 'do'), ['doctor']);
  t.same(complete('hawser', '--v'), ['--version']);
  t.same(complete('hawser', 'exec', '--time'), ['--timeout']);
  t.ok(complete('hawser', 'exec', '-').includes('-t'));
  t.same(complete('hawser', 'exec', '--rlimit', 'nof'), ['nofile=']);
  t.same(complete('hawser', 'exec', '--rlimit', '=', 'nof'), ['nofile=']);
  t.same(complete('hawser', 'exec', '--rlimit=nof'), ['--rlimit=nofile=']);
  t.same(complete('hawser', 'exec', '--kill-signal', 'TE'), ['TERM']);
  t.same(complete('hawser', 'exec', '-w', ''), [], 'a directory in the guest is not known here');
  t.same(complete('hawser', 'kill', '--signal', 'US'), ['USR1', 'USR2']);
  t.same(complete('hawser', 'kill', '-s', 'TE'), ['TERM']);
  t.same(complete('hawser', 'top', '--sort', ''), ['cpu', 'memory', 'processes', 'name']);
  t.ok(complete('hawser', 'ps', '--filter', '').includes('label='));
  t.ok(complete('hawser', 'ps', '--no').includes('--no-trunc'));
  t.same(complete('hawser', 'exec', '--surv'), ['--survive-agent']);
  t.same(complete('hawser', 'completion', ''), ['bash', 'zsh', 'fish']);
  t.same(complete('hawser', 'help', 'e'), ['exec']);
  t.same(complete('hawser', 'vm', ''), ['ls', 'stop', 'kill', 'logs']);
  t.same(complete('hawser', 'vm', '--fo'), ['--follow']);
  t.same(complete('hawser', 'run', '--root', 'ext'), ['ext4', 'ext4-writable']);
  t.same(complete('hawser', 'run', '--image', 'a'), ['a dir']);
  t.same(complete('hawser', 'run', '--de'), ['--detach']);
  t.same(complete('hawser', 'run', ''), [], 'it has no operand');
  t.end();
});

t.test('bash completes lines, and paths behind them', (t) => {
  t.same(complete('hawser', 'exec', 'un'), ['unix:']);
  t.same(complete('hawser', 'exec', '-it', 'unix', ':', 'a'), ['a dir']);
  t.same(complete('hawser', 'exec', 'unix', ':').toSorted(), ['a dir', "it's", 'script.bash']);
  for (const command of ['ps', 'top', 'logs', 'wait', 'kill', 'rm', 'inspect'])
    t.same(complete('hawser', command, 'un'), ['unix:']);
  t.same(complete('hawser', 'doctor', 'unix:it'), ["unix:it's"], 'where : does not break words');
  t.same(complete('hawser', 'exec', 'vsock', ':', ''), []);
  t.same(complete('hawser', 'exec', 'unix', ':', '/x', '--', 'l'), [], "the command is the guest's");
  t.end();
});

t.test('a hostile path is offered as it is, and runs nothing', (t) => {
  const hostile = join(dir, 'hostile');
  mkdirSync(hostile);
  writeFileSync(join(hostile, '$(touch pwned)`id`; *'), '');
  t.same(complete('hawser', 'exec', 'unix', ':', 'hostile/'), ['hostile/$(touch pwned)`id`; *']);
  t.same(complete('hawser', 'exec', 'unix', ':', 'pwned'), []);
  t.end();
});

t.test('the script is registered for the name hawser', (t) => {
  const { stdout } = spawnSync('bash', ['-c', `source "${dir}/script.bash"; complete -p hawser`], {
    encoding: 'utf8',
  });
  t.equal(stdout, 'complete -o default -F _hawser hawser\n');
  t.end();
});

t.test(
  'zsh and fish get every command and option, where they are installed their own parser takes it',
  (t) => {
    for (const shell of ['zsh', 'fish'] as const) {
      const script = completionScript(shell, program);
      for (const word of [
        'exec',
        'attach',
        'ps',
        'since-byte',
        'survive-agent',
        'relay',
        'detach-keys',
        'run',
        'vm',
        'detach',
        'doctor',
        'completion',
        'rlimit',
        'interactive',
        'unix:',
        'json',
      ])
        t.match(script, word);
      const path = join(dir, `script.${shell}`);
      writeFileSync(path, script);
      const { error, status, stderr } = spawnSync(shell, ['-n', path], { encoding: 'utf8' });
      if (error === undefined) t.equal(status, 0, `${shell} -n ${stderr}`);
    }
    t.end();
  },
);
