import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

/**
 * The files of modules and of what they depend on, in an order in which they can be inserted.
 *
 * @param folder `lib/modules/RELEASE`, with `modules.dep` as depmod(8) makes it
 * @param wanted names, with underscores or hyphens; what is built into the kernel is left out
 * @param missing told of names that the kernel has neither built in nor as a module
 * @returns paths relative to `folder`
 */
export function modulesInOrder(
  folder: string,
  wanted: readonly string[],
  missing: (name: string) => void = () => {},
): string[] {
  const builtin = new Set(lines(join(folder, 'modules.builtin')).map(moduleName));
  const dependencies = new Map<string, { file: string; needs: string[] }>();
  for (const line of lines(join(folder, 'modules.dep'))) {
    const [file = '', needs = ''] = line.split(':');
    dependencies.set(moduleName(file), {
      file,
      needs: needs.trim().split(/\s+/).filter(Boolean).toReversed(),
    });
  }
  const order: string[] = [];
  const visit = (name: string): void => {
    const module = dependencies.get(name);
    if (module === undefined) {
      if (!builtin.has(name)) missing(name);
      return;
    }
    if (order.includes(module.file)) return;
    // modules.dep lists all of them, the deepest last.
    for (const need of module.needs) if (!order.includes(need)) order.push(need);
    order.push(module.file);
  };
  for (const name of wanted) visit(name.replaceAll('-', '_'));
  return order;
}

function lines(path: string): string[] {
  if (!existsSync(path)) throw new Error(`${path} does not exist: run depmod on the modules`);
  return readFileSync(path, 'utf8').split('\n').filter(Boolean);
}

/** `kernel/drivers/virtio/virtio-rng.ko.xz` is `virtio_rng`. */
function moduleName(file: string): string {
  return basename(file)
    .replace(/\.ko(\.(xz|gz|zst))?$/, '')
    .replaceAll('-', '_');
}
