import { rmSync } from 'node:fs';
import t from 'tap';
import { VmConsole } from '../../src/vm/console.js';
import { ConsoleLog } from '../../src/vm/console-log.js';

/** Lines of ten bytes. */
function lines(from: number, to: number): string {
  return Array.from({ length: to - from }, (_, index) => `${String(from + index).padStart(9, '0')}\n`).join(
    '',
  );
}

async function collect(console: VmConsole, until: AbortSignal): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of console.follow(until)) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

t.test('the newest is kept, within the limit, and is readable after the files are gone', async (t) => {
  const directory = t.testdir();
  const log = new ConsoleLog(directory, 2000);
  const console = await VmConsole.open(directory);
  t.equal(await console.text(), '');
  log.write(Buffer.from(lines(0, 50)));
  t.equal(await console.text(), lines(0, 50));
  log.write(Buffer.from(lines(50, 1050))); // in one piece larger than the log
  const text = await console.text();
  t.ok(text.length > 1000 && text.length <= 2000, `${text.length} bytes of at most 2000`);
  t.equal(text, lines(1050 - text.length / 10, 1050), 'the last of them, without a gap');
  log.close();
  rmSync(directory, { recursive: true });
  t.equal(await console.text(), text);
  await console.close();
});

t.test('following gives each byte once, while the log is begun anew', async (t) => {
  const directory = t.testdir();
  const log = new ConsoleLog(directory, 2000);
  const console = await VmConsole.open(directory);
  const over = new AbortController();
  log.write(Buffer.from(lines(0, 10)));
  let seen = '';
  const parts = console.follow(over.signal);
  for (let line = 10; line < 400; line += 30) {
    // Less at a time than the log holds: nobody is too slow.
    while (seen.length < line * 10) seen += String((await parts.next()).value);
    log.write(Buffer.from(lines(line, line + 30)));
  }
  over.abort();
  for await (const chunk of parts) seen += chunk.toString();
  t.equal(seen, lines(0, 400));
  t.equal(await collect(console, AbortSignal.abort()), await console.text(), 'all that is kept, and the end');
  log.close();
  await console.close();
});
