// Loaded into each test process by .taprc, after tap's own preloads.
import './typescript.mjs';

// tap wraps child_process so that every child, whatever environment it is given, gets NODE_OPTIONS and six variables
// of tap's: a second tap in each Node child, 80 ms for each start, and an environment that no test of environments
// can trust. It serves coverage across processes, which is off here. Take the wrapper off, and what it left in our own.
globalThis[Symbol.for('process-on-spawn@*:singletonId')]?.unwrap();
if (process.env.NODE_OPTIONS?.includes('@tapjs/processinfo')) delete process.env.NODE_OPTIONS;
