'use strict';
// Preloaded into an agent (`node --require`): makes calls throw that it uses for one rare thing each, as a bug of its
// own would. What breaks only sometimes does so for input that says `break this`.
const os = require('node:os');

const fault = (what) => {
  throw new TypeError(`broken ${what}`);
};
const saysSo = (bytes) =>
  bytes !== null && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes('break this');

os.release = () => fault('release');
require('node:buffer').isUtf8 = () => fault('isUtf8');

const dlopen = process.dlopen.bind(process);
process.dlopen = (module, ...rest) => {
  dlopen(module, ...rest);
  const { launch, write2, setWindowSize } = module.exports;
  if (launch === undefined || write2 === undefined || setWindowSize === undefined) return;
  // Of the row count that nothing starts with.
  module.exports.setWindowSize = (fd, columns, rows, ...others) =>
    rows === 77 ? fault('setWindowSize') : setWindowSize(fd, columns, rows, ...others);
  module.exports.launch = (request, bytes, out) =>
    saysSo(request.subarray(0, bytes)) ? fault('launch') : launch(request, bytes, out);
  // Only where the agent writes to a command: a line's writes have a body, or begin with a frame's header.
  module.exports.write2 = (fd, head, ...others) =>
    saysSo(head) && head[0] !== 0x48 ? fault('write2') : write2(fd, head, ...others);
};

// 0 is the moment of the signal: nothing of the agent's is on the stack that could catch it.
process.on('SIGWINCH', () => setTimeout(() => fault('timer'), 0));
process.on(
  'SIGURG',
  () => void Promise.reject(new TypeError('broken promise', { cause: new RangeError('beneath it') })),
);
