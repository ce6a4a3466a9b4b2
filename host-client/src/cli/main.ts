import { runProgram } from './program.js';

// A write that fails tells whoever wrote; a reader that goes away (`hawser --help | head -1`) is no reason for a trace.
for (const output of [process.stdout, process.stderr]) output.on('error', () => undefined);

// Set, and no exit called: what is on its way to a slow reader is still written.
process.exitCode = await runProgram(process.argv.slice(2));
