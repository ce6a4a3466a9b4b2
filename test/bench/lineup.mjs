import { fileURLToPath } from 'node:url';
import { AgentProcess } from './agent.mjs';
import { Contestant } from './contestant.mjs';

const script = (name) => fileURLToPath(new URL(`./contestants/${name}.mjs`, import.meta.url));

/** Starts contestants for the measurements; what it started and nobody ended, `endAll` ends. */
export class Lineup {
  #started = [];

  /**
   * @param owner of the processes
   * @param references paths of the compiled C programs, by name
   * @param profileDirectory where agent and host write their CPU profiles, if anywhere
   */
  constructor(owner, references, profileDirectory) {
    this.owner = owner;
    this.references = references;
    this.profileArgs =
      profileDirectory === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileDirectory}`];
  }

  /** An agent, listening. */
  async agent() {
    const agent = this.#keep(new AgentProcess(this.owner, this.profileArgs));
    (await agent.firstConnection()).destroy();
    return agent;
  }

  /** A host process that is connected to `line`. */
  host(line) {
    return this.#node('hawser', [line], this.profileArgs);
  }

  childProcess = () => this.#node('child-process', []);
  nodePty = () => this.#node('node-pty', []);
  socat = () => this.#node('socat', [this.owner.directory]);
  startup = () => this.#node('startup', []);

  cPipes = () => this.#c('exec-pipes');
  cTerminal = () => this.#c('exec-terminal');

  async endAll() {
    // Last in, first out: a host ends before its agent does.
    for (const one of this.#started.splice(0).toReversed()) await one.end();
  }

  #node(name, args, nodeArgs = []) {
    const child = this.owner.start(process.execPath, [...nodeArgs, script(name), ...args]);
    return this.#keep(new Contestant(name, child, this.owner));
  }

  #c(name) {
    return this.#keep(new Contestant(name, this.owner.start(this.references[name], []), this.owner));
  }

  #keep(one) {
    this.#started.push(one);
    return one;
  }
}
