import {
  chmodSync,
  copyFileSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { Libc } from './agent.js';
import { addAgent, addCodeCache, agentFolder, agentProgram, removeWork } from './agent.js';
import {
  addModules,
  chosenKernel,
  compileInit,
  initList,
  lineModules,
  nodeFlags,
  strip,
} from './build-image.js';
import { sharedLibraries } from './elf.js';
import { bytesOf, FileTree } from './file-tree.js';
import { addOciLayer } from './oci.js';
import { openRcScript, systemdUnit } from './services.js';
import { tarEntries, tarOf } from './tar.js';

export interface OverlayOptions {
  /** Folder for `hawser-overlay.tar` and `Dockerfile`. */
  readonly out: string;
  /**
   * `glibc` (the default) brings Node and all its libraries along in /opt/hawser, and runs on any
   * root file system, on one with musl or without a libc too. `musl` is for Alpine's own Node
   * (`apk add nodejs`): small, and without terminals, for which node-pty has no binding.
   */
  readonly libc?: Libc | undefined;
  readonly node?: string | undefined;
  readonly kernel?: string | undefined;
  readonly modules?: string | undefined;
  readonly cache?: string | undefined;
  readonly config?: Readonly<Record<string, unknown>> | undefined;
  /** A root file system to add to: a folder, or a tar archive, which is replaced by one with the agent. */
  readonly root?: string | undefined;
  /** An OCI image layout whose images get one more layer. */
  readonly oci?: string | undefined;
  readonly log?: ((text: string) => void) | undefined;
}

/**
 * Adds the agent to a root file system that exists: as a tar layer in any case, and to a folder, an
 * archive or an OCI image layout where one is named. With it come a systemd unit and an OpenRC
 * script, both enabled, and /opt/hawser/init for `init=/opt/hawser/init`.
 *
 * @returns the layer's size in bytes
 */
export function buildOverlay(options: OverlayOptions): number {
  mkdirSync(options.out, { recursive: true });
  const work = mkdtempSync(join(tmpdir(), 'hawser-overlay-'));
  try {
    const tree = overlayTree(options, work);
    const layer = tarOf(tree);
    writeFileSync(join(options.out, 'hawser-overlay.tar'), layer);
    writeFileSync(join(options.out, 'Dockerfile'), dockerfile(options.libc ?? 'glibc'));
    if (options.root !== undefined) addToRoot(options.root, tree, layer);
    if (options.oci !== undefined) addOciLayer(options.oci, layer, 'hawser: npm run image -- --overlay');
    return layer.length;
  } finally {
    removeWork(work);
  }
}

function overlayTree(options: OverlayOptions, work: string): FileTree {
  const { libc = 'glibc', log = () => {} } = options;
  const tree = new FileTree();
  const native = addAgent(tree, { libc, work });
  const program =
    libc === 'glibc' ? addOwnNode(tree, options.node ?? process.execPath, native, work) : ['/usr/bin/node'];
  const command = [...program, ...nodeFlags(), agentProgram, '--config', '/etc/hawser/agentd.json'];
  tree.text('/etc/hawser/agentd.json', `${JSON.stringify(options.config ?? { listen: ['virtio:agent'] })}\n`);
  tree.copy(`${agentFolder}/init`, compileInit(work));
  // Not in /lib, which is a link to usr/lib in many images, and would be one no more.
  const modules = addModules(tree, chosenKernel(options, log), lineModules, log, `${agentFolder}/modules`);
  tree.text('/etc/hawser/init', initList(modules, command));
  const unit = '/etc/systemd/system/hawser-agentd.service';
  tree.text(unit, systemdUnit(command));
  tree.link('/etc/systemd/system/multi-user.target.wants/hawser-agentd.service', '../hawser-agentd.service');
  tree.text('/etc/init.d/hawser-agentd', openRcScript(command), 0o755);
  tree.link('/etc/runlevels/default/hawser-agentd', '/etc/init.d/hawser-agentd');
  return tree;
}

/**
 * Node with its own dynamic linker and libraries, whatever the image has of them.
 *
 * @returns the words that start it
 */
function addOwnNode(tree: FileTree, node: string, native: readonly string[], work: string): string[] {
  const [program, libraries] = [`${agentFolder}/bin/node`, `${agentFolder}/lib`];
  const stripped = join(work, 'node');
  copyFileSync(node, stripped);
  strip(stripped);
  addCodeCache(tree, node, nodeFlags(), work);
  tree.copy(program, stripped);
  let linker: string | undefined;
  for (const [path, file] of sharedLibraries([node, ...native])) {
    const isLinker = /^ld-linux|^ld-musl/.test(basename(path));
    if (isLinker) linker = `${libraries}/ld.so`;
    tree.copy(isLinker ? `${libraries}/ld.so` : `${libraries}/${basename(path)}`, file);
  }
  return linker === undefined ? [program] : [linker, '--library-path', libraries, program];
}

/** Into a folder, owned by whoever runs this, or behind the entries of an archive. */
function addToRoot(root: string, tree: FileTree, layer: Buffer): void {
  if (!statSync(root).isDirectory()) {
    writeFileSync(root, Buffer.concat([tarEntries(readFileSync(root)), layer]));
    return;
  }
  for (const [path, node] of tree.entries()) {
    const target = join(root, path);
    if (node.kind === 'directory') mkdirSync(target, { recursive: true });
    else mkdirSync(dirname(target), { recursive: true });
    if (node.kind === 'file' || node.kind === 'link') {
      if (lstatSync(target, { throwIfNoEntry: false }) !== undefined) rmSync(target);
      if (node.kind === 'link') symlinkSync(node.target, target);
      else {
        writeFileSync(target, bytesOf(node.content));
        chmodSync(target, node.mode);
      }
    }
  }
}

function dockerfile(libc: Libc): string {
  return [
    '# Behind the FROM and RUN lines of an image: adds the agent. As the first process of a VM the image is',
    '# started with init=/opt/hawser/init, under systemd or OpenRC the service starts by itself.',
    ...(libc === 'musl' ? ['RUN apk add --no-cache nodejs'] : []),
    'ADD hawser-overlay.tar /',
    '',
  ].join('\n');
}
