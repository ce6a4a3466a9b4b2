#!/usr/bin/env -S node --max-semi-space-size=1 --v8-pool-size=1 --interrupt-budget=15000
import { createRequire } from 'node:module';

// The flags above keep the agent's memory small and have V8 optimise sooner (docs/performance.md);
// `node-flags.json` has them for whoever starts Node directly, and a test compares the two.
// `require` and not `import`: the ESM loader would scan the whole bundle for its exports first.
createRequire(import.meta.url)('../dist/hawser-agentd.cjs');
