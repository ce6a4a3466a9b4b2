import { defaultLimits } from '../../src/limits.js';
import type { ExitRecord, Payload } from '../../src/messages/schemas.js';

/** Of a command that used nothing. */
export const noUsage: ExitRecord['rusage'] = {
  userUs: 0,
  systemUs: 0,
  maxRssKiB: 0,
  minorFaults: 0,
  majorFaults: 0,
  inBlocks: 0,
  outBlocks: 0,
  voluntarySwitches: 0,
  involuntarySwitches: 0,
};

/** What an agent of no particular kind answers a host with that has this key. */
export function welcomeOf(connectionKey: Uint8Array): Payload<'Welcome'> {
  return {
    generation: 1,
    connectionKey,
    agentVersion: 'x',
    bootId: 'b',
    bootEpoch: 0,
    windowBytes: 100_000,
    frameBytesMax: defaultLimits.frameBytesMax,
    checked: false,
    features: [],
  };
}
