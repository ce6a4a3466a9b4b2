import { HawserError } from '@hawser/protocol';
import { errnoName, loadKoffi } from './koffi.js';

const setChildSubreaper = 36; // PR_SET_CHILD_SUBREAPER (prctl(2))

/** From now on a descendant whose parent ended becomes a child of this process, and so stays findable. */
export function becomeChildSubreaper(): void {
  const ffi = loadKoffi('a child subreaper needs');
  const prctl = ffi
    .load(null)
    .func('int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)');
  if (prctl(setChildSubreaper, 1, 0, 0, 0) < 0) {
    const name = errnoName(ffi.errno());
    throw new HawserError('system_call_failed', `prctl(PR_SET_CHILD_SUBREAPER) failed with ${name}`, {
      errno: name,
    });
  }
}
