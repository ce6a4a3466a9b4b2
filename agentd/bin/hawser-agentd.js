#!/usr/bin/env node
import { createRequire } from 'node:module';

// `require` and not `import`: the ESM loader would scan the whole bundle for its exports first.
createRequire(import.meta.url)('../dist/hawser-agentd.cjs');
