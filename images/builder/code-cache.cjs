'use strict';
// Run by the builder with the guest's Node and flags: `code-cache.cjs FOLDER CACHE SOCKET`. Starts the agent of a
// folder and writes the code cache with what was compiled on the way.
const { readFileSync, writeFileSync } = require('node:fs');
const { createRequire, Module } = require('node:module');
const { Script } = require('node:vm');

const [folder, cache, socket] = process.argv.slice(2);
const filename = `${folder}/agentd.js`;
const script = new Script(Module.wrap(readFileSync(filename, 'utf8')), { filename: '/opt/hawser/agentd.js' });
process.argv.splice(2, 3, '--listen', `unix:${socket}`, '--log-level', 'silent');
script.runInThisContext()({}, createRequire(filename), { exports: {} }, filename, folder);
// The socket is open now; what follows depends on timing, and the cache must not.
setImmediate(() => {
  writeFileSync(cache, script.createCachedData());
  process.exit(0);
});
