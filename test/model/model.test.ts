import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type Agent, connect, type Session } from '@hawser/host-client';
import * as fc from 'fast-check';
import t from 'tap';
import { until } from '../load/world.js';
import { type RunningAgent, startAgent } from '../support/agentd.js';
import { CuttableProxy } from '../support/cuttable-proxy.js';

/** What must be so of a session. */
interface ModelSession {
  readonly kind: 'pipe' | 'terminal';
  /** Everything that it has written since it began. */
  output: string;
  size: string;
  attached: boolean;
  ended: boolean;
}

interface Model {
  readonly sessions: ModelSession[];
}

/** The real thing: an agent, a host that may die, and what the host has of each session. */
class Real {
  readonly running: RunningAgent;
  agent!: Agent;
  proxy!: CuttableProxy;
  readonly ids: string[] = [];
  readonly held: (Session | undefined)[] = [];
  readonly #read: string[] = [];
  #hosts = 0;

  constructor(running: RunningAgent) {
    this.running = running;
  }

  /** A host process starts. */
  async startHost(name: string): Promise<void> {
    const path = join(this.running.folder, `${name}-${this.#hosts++}.sock`);
    this.proxy = await CuttableProxy.listen(path, this.running.line.slice('unix:'.length));
    this.agent = await connect(this.proxy.line);
  }

  /** It is gone between one byte and the next, and says goodbye to nobody. */
  async killHost(): Promise<void> {
    this.proxy.refusing = true;
    this.proxy.cut();
    await this.agent.close();
    await this.proxy[Symbol.asyncDispose]();
    this.held.fill(undefined);
  }

  hold(i: number, session: Session): void {
    this.held[i] = session;
    this.#read[i] = '';
    session.stdout.on('data', (chunk: Buffer) => (this.#read[i] += chunk.toString('latin1')));
    session.stdout.on('gap', () => (this.#read[i] += '<gap>'));
  }

  session(i: number): Session {
    const session = this.held[i];
    if (session === undefined) throw new Error(`nobody holds session ${i}`);
    return session;
  }

  /** What was read of it since it was started or attached to, from its beginning. */
  async assertOutput(i: number, output: string): Promise<void> {
    await until(
      `session ${i} to have written ${JSON.stringify(output)}`,
      () => this.#read[i] === output,
    ).catch(() => {
      throw new Error(`session ${i} wrote ${JSON.stringify(this.#read[i])}, not ${JSON.stringify(output)}`);
    });
  }
}

type Step = fc.AsyncCommand<Model, Real>;

const terminalScript = 'stty -echo; echo ready; while read -r line; do stty size; echo "$line"; done';
const options = {
  detached: true,
  historyBytes: 1_000_000,
  whenFull: 'block',
  onDisconnect: { action: 'keep' },
} as const;

/** A step on one of the sessions for which `when` holds. */
abstract class OnSession implements Step {
  readonly pick: number;

  constructor(pick: number) {
    this.pick = pick;
  }

  abstract when(session: ModelSession): boolean;
  abstract act(session: ModelSession, real: Real, i: number): Promise<void>;

  check(model: Readonly<Model>): boolean {
    return model.sessions.some((session) => this.when(session));
  }

  async run(model: Model, real: Real): Promise<void> {
    const fit = model.sessions.flatMap((session, i) => (this.when(session) ? [i] : []));
    const i = fit[this.pick % fit.length] as number;
    await this.act(model.sessions[i] as ModelSession, real, i);
  }

  toString(): string {
    return `${this.constructor.name}(${Object.values(this).join()})`;
  }
}

const isLive = (session: ModelSession): boolean => session.attached && !session.ended;

class Exec implements Step {
  readonly kind: ModelSession['kind'];
  constructor(kind: ModelSession['kind']) {
    this.kind = kind;
  }
  check = (model: Readonly<Model>): boolean => model.sessions.length < 6;
  async run(model: Model, real: Real): Promise<void> {
    const i = model.sessions.length;
    const terminal = this.kind === 'terminal';
    const session = terminal
      ? await real.agent.spawn('sh', ['-c', terminalScript], { ...options, tty: { rows: 24, cols: 80 } })
      : await real.agent.spawn('cat', [], options);
    real.ids[i] = session.id;
    real.hold(i, session);
    const output = terminal ? 'ready\r\n' : '';
    model.sessions.push({ kind: this.kind, output, size: '24 80', attached: true, ended: false });
    await real.assertOutput(i, output);
  }
  toString = (): string => `Exec(${this.kind})`;
}

class Write extends OnSession {
  readonly text: string;
  constructor(pick: number, text: string) {
    super(pick);
    this.text = text;
  }
  when = isLive;
  async act(session: ModelSession, real: Real, i: number): Promise<void> {
    real.session(i).stdin?.write(`${this.text}\n`);
    session.output += session.kind === 'pipe' ? `${this.text}\n` : `${session.size}\r\n${this.text}\r\n`;
    await real.assertOutput(i, session.output);
  }
}

class Resize extends OnSession {
  readonly rows: number;
  readonly cols: number;
  constructor(pick: number, rows: number, cols: number) {
    super(pick);
    this.rows = rows;
    this.cols = cols;
  }
  when = (session: ModelSession): boolean => isLive(session) && session.kind === 'terminal';
  async act(session: ModelSession, real: Real, i: number): Promise<void> {
    await real.session(i).resize({ rows: this.rows, cols: this.cols });
    session.size = `${this.rows} ${this.cols}`;
  }
}

class Signal extends OnSession {
  when = isLive;
  async act(session: ModelSession, real: Real, i: number): Promise<void> {
    const held = real.session(i);
    await held.signal('SIGKILL');
    session.ended = true;
    const exit = await held.exited;
    const { signal, killedBy, stdout } = exit;
    const wanted = {
      signal: 'SIGKILL',
      killedBy: 'request',
      stdout: { bytes: session.output.length, dropped: 0 },
    };
    assert.deepEqual({ signal, killedBy, stdout }, wanted);
  }
}

class Detach extends OnSession {
  when = isLive;
  async act(session: ModelSession, real: Real, i: number): Promise<void> {
    await real.session(i).detach();
    session.attached = false;
    real.held[i] = undefined;
  }
}

class Attach extends OnSession {
  when = (session: ModelSession): boolean => !session.attached;
  async act(session: ModelSession, real: Real, i: number): Promise<void> {
    const held = await real.agent.attach(real.ids[i] as string, { stdin: true, from: 'start' });
    real.hold(i, held);
    session.attached = true;
    await real.assertOutput(i, session.output);
    if (session.ended) assert.equal((await held.exited).signal, 'SIGKILL');
  }
}

class Cut implements Step {
  check = (): boolean => true;
  async run(model: Model, real: Real): Promise<void> {
    real.proxy.cut();
    const { sessionsRunning } = await real.agent.info();
    assert.equal(sessionsRunning, model.sessions.filter(({ ended }) => !ended).length);
  }
  toString = (): string => 'Cut';
}

class CutLater implements Step {
  readonly bytes: number;
  constructor(bytes: number) {
    this.bytes = bytes;
  }
  check = (): boolean => true;
  async run(_model: Model, real: Real): Promise<void> {
    real.proxy.cutAfter(this.bytes);
  }
  toString = (): string => `CutLater(${this.bytes})`;
}

class RestartHost implements Step {
  check = (): boolean => true;
  async run(model: Model, real: Real): Promise<void> {
    await real.killHost();
    // A session that had ended and was attached was this host's to hear of: nobody keeps it for another.
    for (const session of model.sessions) session.attached = session.ended && session.attached;
    await real.startHost('again');
  }
  toString = (): string => 'RestartHost';
}

t.test('sessions are what a simple model says, whatever hosts and lines do', async (t) => {
  await using running = await startAgent({ args: ['--resume-grace-ms', '20000'] });
  const pick = fc.nat(5);
  const commands = fc.commands<Model, Real, boolean>(
    [
      fc.constantFrom('pipe' as const, 'terminal' as const).map((kind) => new Exec(kind)),
      fc.tuple(pick, fc.stringMatching(/^[a-z0-9]{1,30}$/)).map(([at, text]) => new Write(at, text)),
      fc
        .tuple(pick, fc.integer({ min: 2, max: 99 }), fc.integer({ min: 2, max: 200 }))
        .map((x) => new Resize(...x)),
      pick.map((at) => new Signal(at)),
      pick.map((at) => new Detach(at)),
      pick.map((at) => new Attach(at)),
      fc.constant(new Cut()),
      fc.integer({ min: 1, max: 400 }).map((bytes) => new CutLater(bytes)),
      fc.constant(new RestartHost()),
    ],
    { maxCommands: 30, size: 'max' },
  );
  const numRuns = Number(process.env['HAWSER_MODEL_RUNS'] ?? 12);
  const property = fc.asyncProperty(commands, async (steps) => {
    const real = new Real(running);
    await real.startHost('first');
    try {
      await fc.asyncModelRun(() => ({ model: { sessions: [] }, real }), steps);
    } finally {
      for (const id of real.ids) {
        const session = await real.agent.attach(id).catch(() => undefined);
        await session?.kill();
      }
      await until('every session to be over', async () => (await real.agent.info()).sessionsRunning === 0);
      await real.agent.close();
      await real.proxy[Symbol.asyncDispose]();
    }
  });
  // On failure fast-check tells the seed, the path and the steps that are left of it.
  await fc.assert(property, { numRuns, endOnFailure: false });
  t.pass(`${numRuns} runs`);
});
