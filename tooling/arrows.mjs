// oxlint plugin: which part of Hawser may import which. One rule, one table; it sees `import`, `export from`,
// `import()` and every `require(…)` of a literal, because the native modules are loaded when first needed.
import { dirname, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');

/** `within` must not import `these`; both are tested on paths from the repository's root or package names. */
const refused = [
  {
    within: /^protocol\//,
    these: /^(@hawser\/|agentd\/|host-client\/|test\/)/,
    because: 'protocol imports neither side',
  },
  {
    within: /^agentd\//,
    these: /^(@hawser\/host-client|host-client\/|protocol\/|test\/)/,
    because: 'agentd sees only @hawser/protocol',
  },
  {
    within: /^host-client\//,
    these: /^(@hawser\/agentd|agentd\/|protocol\/|test\/)/,
    because: 'host-client sees only @hawser/protocol',
  },
  {
    within: /^(protocol|agentd|host-client)\/src\//,
    these: /^(protocol|agentd|host-client)\/test\//,
    because: 'sources do not import tests',
  },
  {
    within: /^(?!(agentd|host-client)\/src\/ffi\/)[^/]+\/src\//,
    these: /^koffi$/,
    because: 'only ffi/ imports koffi',
  },
  {
    within: /^(?!agentd\/src\/processes\/)[^/]+\/src\//,
    these: /^node-pty(\/|$)/,
    because: 'only agentd/src/processes/ imports node-pty',
  },
  {
    within: /^(?!(agentd|host-client)\/src\/transports\/)[^/]+\/src\//,
    these: /^(serialport|@serialport\/.*)$/,
    because: 'only transports/ knows kinds of line',
  },
  {
    within: /^protocol\/src\/frames\//,
    these: /^protocol\/src\/(messages|connection)\//,
    because: 'frames/ comes before messages/ and connection/',
  },
  {
    within: /^protocol\/src\/messages\//,
    these: /^protocol\/src\/connection\//,
    because: 'messages/ comes before connection/',
  },
  {
    within: /^agentd\/src\/ffi\//,
    these: /^agentd\/src\/(?!ffi\/)[^/]+\//,
    because: 'ffi/ is the lowest layer',
  },
  {
    within: /^agentd\/src\/processes\//,
    these: /^agentd\/src\/(sessions|registry|transports)\//,
    because: 'sessions/ uses processes/, never the other way',
  },
];

const arrows = {
  create(context) {
    const file = relative(root, context.filename);
    const rules = refused.filter(({ within }) => within.test(file));
    if (rules.length === 0) return {};
    const check = (literal) => {
      if (typeof literal?.value !== 'string') return;
      const name = literal.value;
      const target = name.startsWith('.') ? relative(root, resolve(dirname(context.filename), name)) : name;
      for (const { these, because } of rules) {
        if (these.test(target))
          context.report({ node: literal, message: `${because}: ${file} must not import ${target}` });
      }
    };
    return {
      ImportDeclaration: (node) => check(node.source),
      ExportNamedDeclaration: (node) => check(node.source),
      ExportAllDeclaration: (node) => check(node.source),
      ImportExpression: (node) => check(node.source),
      CallExpression: ({ callee, arguments: [first] }) => {
        if (callee.type === 'Identifier' && /require/i.test(callee.name)) check(first);
      },
    };
  },
};

export default { meta: { name: 'hawser' }, rules: { arrows } };
