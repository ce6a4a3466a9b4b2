import { runProgram } from './program.js';

process.exitCode = await runProgram(process.argv.slice(2));
// Everything is written, or on its way to a pipe that keeps the event loop alive until it is.
