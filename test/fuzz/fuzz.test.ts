import t from 'tap';
import { Random } from '../../protocol/test/wire.js';
import { corpusOf } from './corpus.js';
import { mutate } from './mutate.js';
import { targets } from './targets.js';

/** `npm run fuzz` goes on for as long as it is told, and looks at the coverage. */
const runs = 1_500;

for (const [name, target] of Object.entries(targets)) {
  t.test(`${name}: nothing escapes, hangs or grows, whatever comes`, async (t) => {
    const corpus = corpusOf(name);
    t.ok(corpus.length > 5, `a corpus of ${corpus.length}`);
    const random = new Random(1);
    const inputs = function* (): Generator<Uint8Array> {
      yield* corpus;
      for (let run = 0; run < runs; run++) yield mutate(random.pick(corpus), random.pick(corpus), random);
    };
    for (const input of inputs()) {
      try {
        await target(input);
      } catch (error) {
        t.fail(`${String(error)} with ${Buffer.from(input).toString('base64')}`);
      }
    }
  });
}
