import t from 'tap';
import type { ProcessEnd } from '../../src/vm/supervisor/end-of-process.js';
import { endOfProcess } from '../../src/vm/supervisor/end-of-process.js';

const exit: ProcessEnd = {
  code: 0,
  signal: null,
  stderr: '',
  guestEnd: undefined,
  killedBy: undefined,
  console: '',
};
const panic = '[    8.6] Kernel panic - not syncing: sysrq triggered crash\r\n[    8.7] CPU: 0\r\n';

t.test('what the hypervisor says of its guest comes first', (t) => {
  t.same(endOfProcess({ ...exit, guestEnd: 'poweroff', console: panic }), { how: 'poweroff' });
  t.same(endOfProcess({ ...exit, guestEnd: 'reset' }), { how: 'reboot' });
  t.same(endOfProcess({ ...exit, guestEnd: 'reset', console: panic }), {
    how: 'panic',
    message: 'sysrq triggered crash',
  });
  t.same(endOfProcess({ ...exit, guestEnd: 'panic' }), { how: 'panic', message: '' });
  t.end();
});

t.test('one that does not say leaves it to the console', (t) => {
  t.same(endOfProcess({ ...exit, console: '[  7.0] reboot: Power down\r\n' }), { how: 'poweroff' });
  t.same(endOfProcess({ ...exit, console: '[  7.0] reboot: Restarting system\r\n' }), { how: 'reboot' });
  t.same(endOfProcess({ ...exit, console: panic }), { how: 'panic', message: 'sysrq triggered crash' });
  t.same(endOfProcess(exit), { how: 'exited' });
  t.end();
});

t.test('a hypervisor that was killed, or failed, is not taken for a guest that ended', (t) => {
  t.same(endOfProcess({ ...exit, code: null, signal: 'SIGKILL' }), {
    how: 'hypervisor_killed',
    signal: 'SIGKILL',
  });
  t.same(
    endOfProcess({ ...exit, stderr: 'qemu-system-x86_64: terminating on signal 15 from pid 77 (kill)\n' }),
    { how: 'hypervisor_killed', signal: 'SIGTERM' },
  );
  t.same(endOfProcess({ ...exit, code: 1, stderr: 'qemu: no such machine\n', console: panic }), {
    how: 'hypervisor_failed',
    exitCode: 1,
    message: 'qemu: no such machine',
  });
  t.end();
});

t.test('what we did ourselves is ours, whatever the process says', (t) => {
  t.same(endOfProcess({ ...exit, code: null, signal: 'SIGKILL', killedBy: 'drain_deadline' }), {
    how: 'killed',
    by: 'drain_deadline',
  });
  t.end();
});
