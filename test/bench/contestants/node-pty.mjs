// node-pty as its README shows it. It is agentd's dependency, so it is found from there.
import { createRequire } from 'node:module';
import { serve, timed } from '../contestant.mjs';

const pty = createRequire(new URL('../../../agentd/package.json', import.meta.url))('node-pty');

const run = () =>
  new Promise((resolve) => {
    pty.spawn('/bin/true', [], { rows: 24, cols: 80 }).onExit(resolve);
  });

await serve({
  exec: ({ count }) => timed(() => Promise.all(Array.from({ length: count }, run))),
});
