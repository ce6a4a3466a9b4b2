'use strict';
// /opt/hawser/agentd.cjs of an image: runs agentd.js with V8's code cache, which saves a guest an eighth of the
// agent's start. A cache of another Node, or of other flags, is refused by V8 and costs nothing.
const { readFileSync } = require('node:fs');
const { Module } = require('node:module');
const { Script } = require('node:vm');

const filename = `${__dirname}/agentd.js`;
let cachedData;
try {
  cachedData = readFileSync(`${__dirname}/agentd.cache`);
} catch {
  // Without it, the start takes its time.
}
const script = new Script(Module.wrap(readFileSync(filename, 'utf8')), { filename, cachedData });
script.runInThisContext()(exports, require, module, filename, __dirname);
