import { decode, encode } from '@msgpack/msgpack';
import * as fc from 'fast-check';
import t from 'tap';
import * as v from 'valibot';
import type { Limits } from '../../src/limits.js';
import { defaultLimits } from '../../src/limits.js';
import { payloadReader, unread } from '../../src/messages/payload-reader.js';
import { PayloadWriter } from '../../src/messages/payload-writer.js';
import type { Payload, PayloadName } from '../../src/messages/schemas.js';
import { payloadSchemas } from '../../src/messages/schemas.js';
import { hex } from '../wire.js';
import { noUsage } from './samples.js';

/**
 * The reader and the writer of payloads beside the libraries: what they give has to be what those give, or they have
 * to leave it to them.
 */

const names = Object.keys(payloadSchemas) as PayloadName[];
const writer = new PayloadWriter();
const library = { ignoreUndefined: true, useBigInt64: true } as const;

function written(payload: object): Buffer {
  return writer.write(payload, 0, defaultLimits.messageDepthMax) as Buffer;
}

/** As `MessageCodec` has the libraries judge. */
function judged(name: PayloadName, bytes: Uint8Array): unknown {
  let decoded: unknown;
  try {
    decoded = normalised(decode(bytes, library));
  } catch {
    return unread;
  }
  const result = v.safeParse(payloadSchemas[name], decoded);
  return result.success ? result.output : unread;
}

function normalised(value: unknown): unknown {
  if (typeof value === 'bigint') return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
  if (Array.isArray(value)) return value.map(normalised);
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, normalised(each)]));
}

/** A schema as its own parts tell it. */
interface Part {
  readonly type: string;
  readonly entries?: Readonly<Record<string, Part>>;
  readonly wrapped?: Part;
  readonly item?: Part;
  readonly items?: readonly Part[];
  readonly value?: Part;
  readonly options?: readonly unknown[];
  readonly literal?: unknown;
  readonly pipe?: readonly Part[];
}

/** Most of them such as every field takes, so that many a payload with many of them passes. */
const numbers = fc.oneof(
  { weight: 100, arbitrary: fc.nat(255) },
  fc.nat(),
  fc.maxSafeInteger(),
  fc.double(),
  fc.constantFrom(
    0,
    127,
    128,
    255,
    256,
    65_535,
    65_536,
    2 ** 32 - 1,
    2 ** 32,
    2 ** 53 - 1,
    -1,
    -32,
    -33,
    -129,
    -32_769,
  ),
);
const strings = fc.oneof(
  { weight: 20, arbitrary: fc.string() },
  fc.string({ unit: 'binary' }),
  fc.constantFrom('x'.repeat(31), 'x'.repeat(32), 'x'.repeat(49), 'x'.repeat(256), 'ä', `${'x'.repeat(40)}ä`),
);
const bigints = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const byteStrings = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
);

/** Values of the kind that a schema takes; not all of them pass its checks. */
function valuesOf(part: Part): fc.Arbitrary<unknown> {
  switch (part.type) {
    case 'string':
      return strings;
    case 'number':
      return numbers;
    case 'bigint':
      return bigints;
    case 'boolean':
      return fc.boolean();
    case 'instance':
      return byteStrings;
    case 'literal':
      return fc.constant(part.literal);
    case 'picklist':
      return fc.constantFrom(...(part.options ?? []));
    case 'union':
      return fc.oneof(...(part.options as readonly Part[]).map(valuesOf));
    case 'optional':
      return fc.option(valuesOf(part.wrapped as Part), { nil: undefined });
    case 'array':
      return fc.array(valuesOf(part.item as Part), { maxLength: 20 });
    case 'strict_tuple':
      return fc.tuple(...(part.items as readonly Part[]).map(valuesOf));
    case 'record':
      return fc.dictionary(fc.string(), valuesOf(part.value as Part), { maxKeys: 3 });
    case 'object':
      return fc.record(
        Object.fromEntries(Object.entries(part.entries ?? {}).map(([name, each]) => [name, valuesOf(each)])),
      );
    default:
      throw new Error(`no values are known for the schema type ${part.type}`);
  }
}

t.test('what is written is what the library writes', (t) => {
  for (const name of names) {
    fc.assert(
      fc.property(valuesOf(payloadSchemas[name]), (payload) => {
        const bytes = written(payload as object);
        return bytes.equals(encode(payload, library));
      }),
    );
  }
  t.pass(`${names.length} kinds of payload`);
  t.end();
});

t.test('what is read is what the libraries read', (t) => {
  for (const name of names) {
    const read = payloadReader(payloadSchemas[name]);
    let taken = 0;
    fc.assert(
      fc.property(valuesOf(payloadSchemas[name]), (payload) => {
        const bytes = encode(payload, library);
        const value = read(bytes, defaultLimits);
        if (value === unread) return;
        taken++;
        t.strictSame(value, judged(name, bytes), name);
      }),
      { numRuns: 300 }, // of some kinds, few pass
    );
    t.ok(taken > 0, `${name}: ${taken} were read`); // else this would show nothing
  }
  t.end();
});

t.test('bytes that are no payload of that kind are never read as one', (t) => {
  let taken = 0;
  for (const name of names) {
    const read = payloadReader(payloadSchemas[name]);
    const mutation = fc.record({ at: fc.nat(), byte: fc.nat(255), cut: fc.nat(3), more: byteStrings });
    fc.assert(
      fc.property(valuesOf(payloadSchemas[name]), mutation, (payload, { at, byte, cut, more }) => {
        let bytes = Buffer.from(encode(payload, library));
        if (bytes.length > 0) bytes[at % bytes.length] = byte;
        if (cut === 0) bytes = bytes.subarray(0, at % (bytes.length + 1));
        if (cut === 1) bytes = Buffer.concat([bytes, more]);
        const value = read(bytes, defaultLimits);
        if (value === unread) return;
        taken++;
        t.strictSame(value, judged(name, bytes), `${name} ${bytes.toString('hex')}`);
      }),
    );
  }
  t.ok(taken > 100, `${taken} of them were payloads all the same`);
  t.end();
});

t.test('the messages of an ordinary command are read without the libraries', (t) => {
  const exited: Payload<'Exited'> = {
    code: 0,
    coreDumped: false,
    timedOut: false,
    rusage: noUsage,
    startedAtUs: 1_795_000_000_000_000,
    durationUs: 1_234,
    stdout: { bytes: 5_000_000_000, dropped: 0 },
    stderr: { bytes: 0, dropped: 0 },
    outputComplete: true,
    survivors: 0,
  };
  const ordinary: { readonly [N in PayloadName]?: Payload<N> } = {
    ExecRequest: {
      cmd: '/bin/sh',
      args: ['-c', 'true', Buffer.from([0xff])],
      env: ['A=1'],
      tty: { rows: 24, cols: 80 },
      rlimits: [{ resource: 'nofile', soft: 64, hard: 'unlimited' }],
      timeoutMs: 5_000,
      stdin: 'pipe',
    },
    ExecStarted: { sessionId: 'b-1', pid: 4_711, startedAtUs: 1_795_000_000_000_000 },
    Exited: exited,
    Closed: { stdout: exited.stdout, stderr: exited.stderr },
    Signal: { signal: 'SIGTERM', target: 'group' },
    Done: { re: 7 },
    Failure: { re: 7, code: 'session_ended', message: 'session b-1 has ended' },
  };
  for (const [name, payload] of Object.entries(ordinary)) {
    const read = payloadReader(payloadSchemas[name as PayloadName]);
    t.strictSame(read(written(payload), defaultLimits), payload, name);
  }
  t.end();
});

t.test('what is no part of a message is left to the library, which says what is wrong with it', (t) => {
  for (const value of [
    null,
    () => undefined,
    Symbol('s'),
    new Map(),
    new Date(),
    Object.create({ a: 'prototype of its own' }) as object,
    2n ** 64n,
    [[null]],
  ])
    t.equal(writer.write({ value }, 0, 8), undefined, typeof value);
  t.equal(writer.write({ a: { b: {} } }, 0, 2), undefined, 'deeper than it may be');
  t.same(writer.write({ a: 1 }, 3, 8)?.subarray(3), hex('81 a1 61 01'), 'behind room for a header');
  t.end();
});

t.test('limits hold for what is read without the library, too', (t) => {
  const read = payloadReader(payloadSchemas.ExecRequest);
  const reads = (payload: object, limits: Partial<Limits>): boolean =>
    read(encode(payload), { ...defaultLimits, ...limits }) !== unread;
  const small = { messageStringBytesMax: 40 };
  t.ok(reads({ cmd: 'x'.repeat(40) }, small));
  t.notOk(reads({ cmd: 'x'.repeat(41) }, small));
  t.notOk(reads({ cmd: Buffer.alloc(41) }, small));
  t.ok(reads({ cmd: 'x', args: ['1', '2'] }, { messageListMax: 2 }));
  t.notOk(reads({ cmd: 'x', args: ['1', '2', '3'] }, { messageListMax: 2 }));
  t.notOk(reads({ cmd: 'x', args: [] }, { messageMapMax: 1 }));
  t.ok(reads({ cmd: 'x', tty: { rows: 1, cols: 1 } }, { messageDepthMax: 2 }));
  t.notOk(reads({ cmd: 'x', tty: { rows: 1, cols: 1 } }, { messageDepthMax: 1 }));
  t.ok(reads({ cmd: 'x', args: ['1', '2'] }, { messageValuesMax: 7 }));
  t.notOk(reads({ cmd: 'x', args: ['1', '2'] }, { messageValuesMax: 6 }));
  t.end();
});
