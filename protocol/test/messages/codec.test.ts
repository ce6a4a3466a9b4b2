import { encode } from '@msgpack/msgpack';
import t from 'tap';
import { HawserError } from '../../src/errors.js';
import { defaultLimits } from '../../src/limits.js';
import { MessageCodec } from '../../src/messages/codec.js';
import type { PayloadName } from '../../src/messages/schemas.js';
import { hex, Random } from '../wire.js';

const codec = new MessageCodec();
const small = new MessageCodec({
  ...defaultLimits,
  messageStringBytesMax: 10,
  messageListMax: 4,
  messageMapMax: 3,
  messageDepthMax: 3,
  messageValuesMax: 20,
});

/** The error's text; every refusal has one code. */
function refusal(name: PayloadName, bytes: Uint8Array, from: MessageCodec = codec): string {
  try {
    from.decode(name, bytes);
  } catch (error) {
    if (error instanceof HawserError && error.code === 'message_invalid') return error.message;
    throw error;
  }
  return 'accepted';
}

t.test('a message is a MessagePack map', (t) => {
  t.strictSame(codec.decode('Signal', hex('82 a6 7369676e616c a4 5445524d a6 746172676574 a5 67726f7570')), {
    signal: 'TERM',
    target: 'group',
  });
  t.strictSame(
    Buffer.from(codec.encode('Signal', { signal: 'TERM', target: 'group' })),
    hex('82 a6 7369676e616c a4 5445524d a6 746172676574 a5 67726f7570'),
  );
  t.strictSame(
    Buffer.from(codec.encode('Signal', { signal: 'TERM', target: undefined })),
    hex('81 a6 7369676e616c a4 5445524d'),
    'what is undefined is left out',
  );
  for (const [bytes, kind] of [
    ['90', 'a list'],
    ['c0', 'nil'],
    ['a0', 'a string'],
    ['05', '5'],
    ['c4 01 00', 'a byte string of 1 bytes'],
  ] as const) {
    t.equal(refusal('Info', hex(bytes)), `Info: expected map, not ${kind}`);
  }
  t.end();
});

t.test('unknown fields are ignored, so that later generations may add some', (t) => {
  // {signal: "X", later: {a: [1, nil, true, 1.5]}}
  const bytes = hex('82 a6 7369676e616c a1 58 a5 6c61746572 81 a1 61 94 01 c0 c3 cb 3ff8000000000000');
  t.strictSame(codec.decode('Signal', bytes), { signal: 'X' });
  t.end();
});

t.test('what is wrong is named, and what it was is not shown', (t) => {
  const exec = (fields: object): string => refusal('ExecRequest', encode({ cmd: 'x', ...fields }));
  t.equal(refusal('ExecRequest', encode({})), 'ExecRequest.cmd is missing');
  t.equal(
    refusal('ExecRequest', encode({ cmd: null })),
    'ExecRequest.cmd: expected (string | byte string), not nil',
  );
  t.equal(exec({ env: 'TOKEN=secret' }), 'ExecRequest.env: expected list, not a string');
  t.equal(exec({ env: ['A=1', 7] }), 'ExecRequest.env.1: expected (string | byte string), not 7');
  t.equal(exec({ args: { secret: 1 } }), 'ExecRequest.args: expected list, not a map');
  t.equal(exec({ stdin: 'secret' }), 'ExecRequest.stdin: expected ("pipe" | "null"), not a string');
  t.equal(exec({ umask: -1 }), 'ExecRequest.umask: expected >=0, not -1');
  t.match(exec({ umask: 1.5 }), /^ExecRequest.umask: .*1\.5$/);
  t.equal(exec({ tty: { rows: 24, cols: 70_000 } }), 'ExecRequest.tty.cols: expected <=65535, not 70000');
  t.equal(exec({ nice: 'secret' }), 'ExecRequest.nice: expected number, not a string');
  t.equal(exec({ inheritEnv: 1 }), 'ExecRequest.inheritEnv: expected boolean, not 1');
  t.equal(
    exec({ labels: { [`k${'x'.repeat(1000)}`]: 5 } }),
    `ExecRequest.labels.k${'x'.repeat(63)}: expected string, not 5`,
  );
  t.end();
});

t.test('integers of 64 bits come as numbers where one holds them exactly, else as bigints', (t) => {
  const rlimit = (soft: string): unknown => {
    // {re: 0, rlimits: [{resource: "as", soft, hard: "unlimited"}]}
    const bytes = hex(`82 a2 7265 00 a7 726c696d697473 91 83 a8 7265736f75726365 a2 6173
      a4 736f6674 ${soft} a4 68617264 a9 756e6c696d69746564`);
    return codec.decode('RlimitsReply', bytes).rlimits[0]?.soft;
  };
  t.equal(rlimit('cf 0000000000000007'), 7);
  t.equal(rlimit('cf 001fffffffffffff'), Number.MAX_SAFE_INTEGER);
  t.equal(rlimit('cf 0020000000000000'), 2n ** 53n);
  t.equal(rlimit('cf ffffffffffffffff'), 2n ** 64n - 1n);
  t.equal(rlimit('d3 0000000000000007'), 7);
  t.equal(rlimit('cb 401c000000000000'), 7, 'a float that is whole');
  t.throws(() => rlimit('d3 ffffffffffffffff'), { code: 'message_invalid' });
  t.throws(() => rlimit('cb 7ff8000000000000'), { code: 'message_invalid' }, 'not a number');
  const value = 2n ** 64n - 1n;
  const reply = { re: 1, rlimits: [{ resource: 'as', soft: value, hard: value }] };
  t.strictSame(codec.decode('RlimitsReply', codec.encode('RlimitsReply', reply)), reply);
  t.end();
});

t.test('a byte string is decoded whatever its bytes are, and belongs to who decoded it', (t) => {
  for (let byte = 0; byte < 256; byte++) {
    for (const head of ['c4 10', 'c5 012c', 'c6 00011170']) {
      const length = Number.parseInt(head.slice(3), 16);
      // {cmd: bytes, args: ["x"]}
      const bytes = Buffer.concat([
        hex(`82 a3 636d64 ${head}`),
        Buffer.alloc(length, byte),
        hex('a4 61726773 91 a1 78'),
      ]);
      const { cmd, args } = codec.decode('ExecRequest', bytes);
      bytes.fill(0);
      if (!Buffer.alloc(length, byte).equals(cmd as Uint8Array) || args?.[0] !== 'x')
        t.fail(`${head} of ${byte}`);
    }
  }
  t.end();
});

t.test('strings, lists, maps, depth and the number of values have their limits', (t) => {
  const label = (fields: object): string => refusal('Signal', encode({ signal: 'X', ...fields }), small);
  t.equal(label({ signal: 'x'.repeat(10) }), 'accepted');
  t.match(label({ signal: 'x'.repeat(11) }), /Max length exceeded/);
  t.match(label({ more: Buffer.alloc(11) }), /Max length exceeded/);
  t.equal(label({ more: [1, 2, 3, 4] }), 'accepted');
  t.match(label({ more: [1, 2, 3, 4, 5] }), /Max length exceeded/);
  t.match(label({ a: 1, b: 2, c: 3 }), /Max length exceeded/);
  t.equal(label({ more: [[1]] }), 'accepted');
  t.match(label({ more: [[[1]]] }), /nested deeper than messageDepthMax 3/);
  t.equal(label({ more: [[1, 2, 3, 4], [1, 2, 3, 4], [1]] }), 'accepted');
  t.match(
    label({
      a: 1,
      more: [
        [1, 2, 3, 4],
        [1, 2, 3, 4],
        [1, 2, 3],
      ],
    }),
    /more than messageValuesMax 20/,
  );
  t.end();
});

t.test('what no limit allows is refused before it is made', (t) => {
  const hostile: [string, Buffer, RegExp][] = [
    ['a hundred thousand lists in each other', Buffer.alloc(100_000, 0x91), /nested deeper/],
    [
      'a hundred thousand maps in each other',
      Buffer.alloc(200_000, Buffer.from('81a0', 'hex')),
      /nested deeper/,
    ],
    [
      'the same behind an extension',
      Buffer.concat([hex('92 c7 00 05'), Buffer.alloc(100_000, 0x91)]),
      /extension/,
    ],
    ['a list of 4 G values without any', hex('dd ffffffff'), /Max length exceeded/],
    ['a map of 4 G entries without any', hex('df ffffffff'), /Max length exceeded/],
    ['a string of 4 GB without any', hex('db ffffffff 61'), /Max length exceeded/],
    [
      'a string of 1 MB without any',
      hex('81 a3 636d64 db 00100000 61'),
      /Insufficient|RangeError|Out of|bounds/i,
    ],
    ['a byte string of 4 GB without any', hex('c6 ffffffff 00'), /Max length exceeded/],
    [
      'half a million empty maps',
      Buffer.concat([
        hex('99'),
        ...Array.from({ length: 9 }, () => Buffer.concat([hex('dd 0000fff0'), Buffer.alloc(0xfff0, 0x80)])),
      ]),
      /more than messageValuesMax 524288/,
    ],
    ['an extension', hex('d4 05 00'), /extension/],
    ['a time stamp', hex('d6 ff 00000000'), /extension/],
    ['nothing', hex(''), /not MessagePack/],
    ['the prototype', hex('81 a9 5f5f70726f746f5f5f 80'), /__proto__/],
    ['a map whose keys are maps', hex('81 80 01'), /not MessagePack/],
    ['more than one value', hex('80 80'), /Extra/],
  ];
  for (const [what, bytes, message] of hostile) t.match(refusal('ExecRequest', bytes), message, what);
  t.end();
});

t.test('no bytes at all make the decoder throw anything else', (t) => {
  const random = new Random(1);
  const names: PayloadName[] = ['Hello', 'ExecRequest', 'Exited', 'InfoReply', 'Failure'];
  const good = encode({
    cmd: 'x',
    args: ['a', 'b'],
    env: ['A=1'],
    tty: { rows: 1, cols: 2 },
    labels: { a: 'b' },
  });
  for (let i = 0; i < 20_000; i++) {
    const bytes = random.below(2) === 0 ? random.bytes(random.below(40)) : Buffer.from(good);
    for (let n = random.below(4); n > 0 && bytes.length > 0; n--)
      bytes[random.below(bytes.length)] = random.below(256);
    refusal(random.pick(names), bytes.subarray(0, random.below(bytes.length + 1)));
  }
  t.end();
});
