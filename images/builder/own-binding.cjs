// Stands for node-gyp-build in the bundle of serialport: the one binding lies beside it.
module.exports = () => require('./binding.node');
