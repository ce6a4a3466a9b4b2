import type { Line } from '@hawser/protocol';
import { HawserError } from '@hawser/protocol';
import { VmRegistry } from '../vm/registry/vm-registry.js';
import type { LineOpener, OpenContext } from './connect-line.js';

/** `vm:NAME`: the line of a VM of this user that runs, by its name or id. The other openers are for the line that it has. */
export function vmOpener(openers: () => Readonly<Record<string, LineOpener>>): LineOpener {
  return (name: string, context: OpenContext): Promise<Line> => {
    if (name === '') throw new HawserError('invalid_argument', `${context.spec} names no VM: vm:NAME`);
    const { line } = new VmRegistry().find(name).record;
    const colon = line.indexOf(':');
    const opener = openers()[line.slice(0, colon)];
    if (opener === undefined) throw new HawserError('internal', `the VM ${name} has the line ${line}`);
    return opener(line.slice(colon + 1), { ...context, spec: line });
  };
}
