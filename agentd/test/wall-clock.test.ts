import t from 'tap';
import { type Clocks, WallClock } from '../src/guest/wall-clock.js';

const second = 1_000_000;

/** A machine whose clocks the test moves, and a record of what was told. */
function machine(options: { maySet?: boolean; refuses?: boolean } = {}) {
  const told: string[] = [];
  const at = { realtime: 1_700_000_000 * second, monotonic: 5 * second };
  const machineClocks: Clocks = {
    realtimeUs: () => at.realtime,
    monotonicUs: () => at.monotonic,
    setRealtime: (us) => {
      if (options.refuses === true) throw new Error('EPERM');
      at.realtime = us;
    },
  };
  const pass = (us: number): void => {
    at.realtime += us;
    at.monotonic += us;
  };
  const clock = new WallClock({
    clocks: machineClocks,
    thresholdMs: 1000,
    maySet: options.maySet ?? true,
    jumped: (byMs) => told.push(`jumped ${byMs}`),
    corrected: (byMs) => told.push(`corrected ${byMs}`),
    refused: (error) => told.push(`refused ${String(error)}`),
  });
  return { clock, clocks: Object.assign(at, { pass }), told };
}

t.test('a guest that boots with a wrong clock gets the host’s, and that is no jump', (t) => {
  const { clock, clocks, told } = machine();
  const host = clocks.realtime + 3600 * second;
  clock.heard(host);
  t.equal(clocks.realtime, host);
  t.equal(clock.epoch, 0);
  clocks.pass(10 * second);
  clock.look();
  clock.heard(host + 10 * second);
  t.strictSame(told, ['corrected 3600000']);
  t.end();
});

t.test('a guest that goes on in the past is told by its host: its own clocks agree with each other', (t) => {
  const { clock, clocks, told } = machine();
  let host = clocks.realtime + 0.9 * second;
  clock.heard(host);
  t.equal(clocks.realtime, host - 0.9 * second, 'a little is let be');
  host += 86_400 * second; // the snapshot lay there for a day
  clock.look();
  t.equal(clock.epoch, 0);
  clock.heard(host);
  t.equal(clock.epoch, 1);
  t.equal(clocks.realtime, host);
  clock.heard(host + 5);
  clock.look();
  t.equal(clock.epoch, 1, 'once');
  t.strictSame(told, ['jumped 86400900', 'corrected 86400900']);
  t.end();
});

t.test('clocks that part are a jump too, whoever set them', (t) => {
  const { clock, clocks, told } = machine();
  clocks.pass(3600 * second);
  clock.look();
  clocks.realtime += 5 * second;
  clock.look();
  clock.look();
  clocks.realtime -= 7 * second;
  clock.look();
  t.equal(clock.epoch, 2);
  t.strictSame(told, ['jumped 5000', 'jumped -7000']);
  t.end();
});

t.test('a time that has waited on the line does not set the clock back', (t) => {
  const { clock, clocks, told } = machine();
  let host = clocks.realtime + 3600 * second;
  clock.heard(host);
  const pass = (seconds: number): void => {
    clocks.pass(seconds * second);
    host += seconds * second;
  };
  for (let i = 0; i < 20; i++) {
    pass(1);
    clock.heard(host - 3 * second); // of a host whose line is slow
    clock.heard(host);
  }
  t.equal(clock.epoch, 0);
  t.equal(clocks.realtime, host);
  t.strictSame(told, ['corrected 3600000']);
  // Nobody else has said anything for long: it is the host's clock that is another.
  pass(31);
  clock.heard(host - 3 * second);
  t.equal(clocks.realtime, host - 3 * second);
  t.strictSame(told.slice(1), ['jumped -3000', 'corrected -3000']);
  t.end();
});

t.test('one jump is counted once, though both see it', (t) => {
  const { clock, clocks, told } = machine();
  const host = clocks.realtime;
  clock.heard(host);
  clocks.realtime -= 3600 * second;
  clock.heard(host);
  t.equal(clock.epoch, 1);
  t.equal(clocks.realtime, host);
  clock.look();
  clock.heard(host);
  t.strictSame(told, ['jumped -3600000', 'corrected 3600000']);
  t.end();
});

t.test('an agent that may not set the clock leaves it, and one that cannot says so', (t) => {
  const left = machine({ maySet: false });
  const before = left.clocks.realtime;
  left.clock.heard(before);
  left.clock.heard(before + 60 * second);
  t.equal(left.clocks.realtime, before);
  t.strictSame(left.told, ['jumped 60000'], 'the jump is told all the same');
  left.clock.heard(before + 61 * second);
  t.equal(left.clock.epoch, 1, 'and once');
  const refused = machine({ refuses: true });
  refused.clock.heard(before + 60 * second);
  t.strictSame(refused.told, ['refused Error: EPERM']);
  t.end();
});
