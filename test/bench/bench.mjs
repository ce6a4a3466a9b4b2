// npm run bench [-- --quick] [--only NAME[,NAME]] [--json FILE] [--cpu-prof DIRECTORY]
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Lineup } from './lineup.mjs';
import { describeMachine } from './machine.mjs';
import { atOnce } from './measurements/at-once.mjs';
import { besideStream } from './measurements/beside-stream.mjs';
import { latency } from './measurements/latency.mjs';
import { memory } from './measurements/memory.mjs';
import { startup } from './measurements/startup.mjs';
import { throughput } from './measurements/throughput.mjs';
import { wire } from './measurements/wire.mjs';
import { Owner } from './owner.mjs';
import { compileReferences } from './references.mjs';
import { machineLines, targetTable } from './report.mjs';

const measurements = {
  latency,
  throughput,
  'beside-stream': besideStream,
  'at-once': atOnce,
  memory,
  startup,
  wire,
};

const usage = `npm run bench -- [options]
  --quick           fewer repetitions: under a minute
  --only NAMES      of ${Object.keys(measurements).join(', ')} (comma-separated)
  --json FILE       the figures, for a program to read
  --cpu-prof DIR    agent and host write a CPU profile each; their figures are worth less then`;

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    json: { type: 'string' },
    'cpu-prof': { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

function chosen() {
  const names = options.only?.split(',') ?? Object.keys(measurements);
  const unknown = names.filter((name) => !Object.hasOwn(measurements, name));
  if (unknown.length > 0) throw new Error(`no measurement is called ${unknown.join(', ')}\n${usage}`);
  return names;
}

async function main() {
  const names = chosen();
  const machine = describeMachine();
  console.log(machineLines(machine));

  const owner = new Owner();
  const lineup = new Lineup(owner, compileReferences(owner.directory), options['cpu-prof']);
  const results = {};
  let failures = 0;
  for (const name of names) {
    try {
      const {
        data,
        tables,
        notes = [],
        targets,
      } = await measurements[name]({ lineup, quick: options.quick });
      results[name] = { ...data, targets };
      console.log(`\n${[...tables, ...notes].join('\n\n')}`);
    } catch (error) {
      failures++;
      console.error(`\n${name} failed:`, error);
    }
    await lineup.endAll();
  }

  console.log(`\n${targetTable(Object.values(results).flatMap((one) => one.targets))}`);
  if (options.json !== undefined)
    writeFileSync(options.json, `${JSON.stringify({ machine, results }, null, 2)}\n`);
  return failures;
}

if (options.help) console.log(usage);
else {
  try {
    process.exit((await main()) === 0 ? 0 : 1);
  } catch (error) {
    console.error(error);
    process.exit(1); // what still runs is ended at exit
  }
}
