import { readFileSync } from 'node:fs';
import { decode } from '@msgpack/msgpack';
import t from 'tap';
import { errorCodes, launchStages } from '../src/errors.js';
import type { FrameTypeName } from '../src/frames/frame-types.js';
import { frameTypes } from '../src/frames/frame-types.js';
import { encodeFrame } from '../src/frames/header.js';
import { defaultLimits } from '../src/limits.js';
import { MessageCodec } from '../src/messages/codec.js';
import type { PayloadName } from '../src/messages/schemas.js';
import { payloadSchemas } from '../src/messages/schemas.js';
import { CHECKED, FIN, GAP, hex, readFrames } from './wire.js';

const document = readFileSync(new URL('../PROTOCOL.md', import.meta.url), 'utf8');
const codec = new MessageCodec();

/** The document's examples by their name. */
const examples = new Map<string, Buffer>();
for (const [, name, text] of document.matchAll(/^```hex name=(\S+)\n(.*?)^```$/gms)) {
  if (examples.has(name as string)) throw new Error(`two examples are called ${name}`);
  examples.set(name as string, hex(text as string));
}

interface Example {
  readonly type: FrameTypeName;
  readonly flags?: number;
  readonly channel?: number;
  readonly offset?: number;
  readonly body?: Uint8Array | object;
}

const connectionKey = Buffer.from(Array.from({ length: 16 }, (_, i) => i));
const startedAtUs = 1_767_225_600_000_000;

/** What the examples say, field by field. */
const expected: Record<string, Example> = {
  ready: {
    type: 'Ready',
    flags: CHECKED,
    body: { agentVersion: '1.0.0', bootId: '5f1c', bootEpoch: 0, generations: [1] },
  },
  hello: {
    type: 'Hello',
    flags: CHECKED,
    body: {
      generations: [1],
      connectionKey,
      hostVersion: '1.0.0',
      token: 'open',
      windowBytes: 1_048_576,
      frameBytesMax: 4_194_304,
      checked: false,
      wallClockUs: startedAtUs,
    },
  },
  'hello-resume': {
    type: 'Hello',
    flags: CHECKED,
    body: {
      generations: [1],
      connectionKey,
      hostVersion: '1.0.0',
      windowBytes: 1_048_576,
      frameBytesMax: 4_194_304,
      attempt: 1_000_001,
      resume: {
        received: 2,
        streams: [
          [1, 0x81, 70_000, 65_536, 1_114_112, 0],
          [1, 0x82, 0, 0, 1_048_576, 0],
        ],
      },
    },
  },
  welcome: {
    type: 'Welcome',
    flags: CHECKED,
    body: {
      generation: 1,
      connectionKey,
      agentVersion: '1.0.0',
      bootId: '5f1c',
      bootEpoch: 0,
      windowBytes: 32_768,
      frameBytesMax: 4_194_304,
      checked: false,
      dataBytesMax: 131_072,
      heartbeatTimeoutMs: 60_000,
      sessionsMax: 1024,
      features: ['exec', 'terminal'],
    },
  },
  reject: {
    type: 'Reject',
    flags: CHECKED,
    body: { code: 'rejected', message: 'wrong token', connectionKey },
  },
  'ping-checked': { type: 'Ping', flags: CHECKED, offset: 7 },
  ping: { type: 'Ping', offset: 7 },
  pong: { type: 'Pong', offset: 7 },
  'exec-request': {
    type: 'ExecRequest',
    channel: 1,
    offset: 1,
    body: { cmd: 'echo', args: ['hi'], env: ['LANG=C'], cwd: '/', stdin: 'null', timeoutMs: 5000 },
  },
  ack: { type: 'Ack', offset: 1 },
  'exec-started': {
    type: 'ExecStarted',
    channel: 1,
    offset: 1,
    body: { sessionId: '5f1c-1', pid: 812, startedAtUs },
  },
  'exec-failed': {
    type: 'ExecFailed',
    channel: 2,
    offset: 4,
    body: { code: 'not_found', message: 'no such command: "nope"', errno: 'ENOENT', stage: 'exec' },
  },
  'stdout-fin': { type: 'Stdout', flags: FIN, channel: 1, body: Buffer.from('hi\n') },
  'stderr-fin': { type: 'Stderr', flags: FIN, channel: 1 },
  'stdout-checked': { type: 'Stdout', flags: CHECKED, channel: 1, body: Buffer.from('hi\n') },
  'stdout-gap': { type: 'Stdout', flags: GAP, channel: 1, offset: 1_048_576, body: Buffer.from('hi') },
  attach: {
    type: 'Attach',
    channel: 3,
    offset: 9,
    body: { sessionId: '5f1c-1', stdin: true, stdout: 70_000, stderr: 'start' },
  },
  exited: {
    type: 'Exited',
    channel: 1,
    offset: 2,
    body: {
      code: 0,
      coreDumped: false,
      timedOut: false,
      rusage: {
        userUs: 310,
        systemUs: 720,
        maxRssKiB: 1480,
        minorFaults: 96,
        majorFaults: 0,
        inBlocks: 0,
        outBlocks: 0,
        voluntarySwitches: 1,
        involuntarySwitches: 0,
      },
      startedAtUs,
      durationUs: 1150,
      stdout: { bytes: 3, dropped: 0 },
      stderr: { bytes: 0, dropped: 0 },
      outputComplete: true,
    },
  },
  'credit-final': {
    type: 'Credit',
    flags: FIN,
    channel: 1,
    offset: 1_048_579,
    body: hex('81 0000000000000003'),
  },
  credit: { type: 'Credit', channel: 1, offset: 65_536, body: hex('80 0000000000008000') },
  signal: { type: 'Signal', channel: 1, offset: 2, body: { signal: 'SIGTERM', target: 'group' } },
  done: { type: 'Done', channel: 1, offset: 3, body: { re: 2 } },
  failure: {
    type: 'Failure',
    channel: 1,
    offset: 3,
    body: { re: 2, code: 'session_ended', message: 'session 5f1c-1 has ended' },
  },
  wait: { type: 'Wait', offset: 7, body: { sessionId: '5f1c-1', timeoutMs: 5000 } },
  shutdown: { type: 'Shutdown', offset: 7, body: { mode: 'poweroff', graceMs: 1000 } },
  bye: { type: 'Bye', body: { code: 'connection_closed', message: 'the agent is shutting down' } },
};

t.test('the examples are all here', (t) => {
  t.strictSame([...examples.keys()].sort(), Object.keys(expected).sort());
  t.end();
});

for (const [name, { type, flags = 0, channel = 0, offset = 0, body }] of Object.entries(expected)) {
  t.test(`the example ${name} is what it says, and what this code sends`, (t) => {
    const bytes = examples.get(name);
    if (bytes === undefined) throw new Error('there is no such example');
    const [frame, ...more] = readFrames(bytes);
    t.strictSame(more, []);
    t.match(frame, { type: frameTypes[type].id, flags, lane: 0, channel, offset: BigInt(offset) });
    const isMap = body !== undefined && !(body instanceof Uint8Array);
    const payload = isMap ? codec.encode(type as PayloadName, body) : body;
    if (isMap) {
      t.equal(shown(decode(frame!.payload)), shown(body));
      t.equal(shown(codec.decode(type as PayloadName, frame!.payload)), shown(body));
    } else {
      t.strictSame(frame!.payload, Buffer.from(body ?? []));
    }
    const sent = encodeFrame({
      type: frameTypes[type].id,
      flags,
      channel,
      offset,
      ...(payload && { payload }),
    });
    t.equal(Buffer.from(sent).toString('hex'), bytes.toString('hex'));
    t.end();
  });
}

/** Fields by their names; byte strings in hex, whatever class they have. */
function shown(body: unknown): string {
  const readable = Object.entries(body as object).map(([key, value]) => [
    key,
    value instanceof Uint8Array ? Buffer.from(value).toString('hex') : (value as unknown),
  ]);
  return JSON.stringify(readable.sort(([a], [b]) => String(a).localeCompare(String(b))));
}

/** The first column of the table that follows a heading. */
function tableUnder(heading: string): string[][] {
  const start = document.indexOf(`\n${heading}\n`);
  if (start < 0) throw new Error(`no heading "${heading}"`);
  const rest = document.slice(start + heading.length + 2);
  const section = rest.slice(0, rest.search(/^#+ /m) < 0 ? undefined : rest.search(/^#+ /m));
  return section
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('|--'))
    .slice(1)
    .filter((line) => !/^\|[\s|-]+$/.test(line))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll('`', '')),
    );
}

t.test('the table of frame types is the code’s', (t) => {
  t.strictSame(
    tableUnder('### 4.1 Frame types').map(([number, name, kind]) => [number, name, kind]),
    Object.entries(frameTypes).map(([name, { id, class: kind }]) => [
      `0x${id.toString(16).padStart(2, '0')}`,
      name,
      kind,
    ]),
  );
  t.end();
});

t.test('the table of limits is the code’s', (t) => {
  for (const [name, value] of tableUnder('## 12. Limits')) {
    t.equal(
      defaultLimits[name as keyof typeof defaultLimits],
      Number(value?.replaceAll(',', '')),
      name as string,
    );
  }
  t.end();
});

t.test('every error code and launch stage is named', (t) => {
  t.strictSame(
    tableUnder('## 11. Errors')
      .flatMap(([codes]) => codes?.split(', ') ?? [])
      .sort(),
    [...errorCodes].sort(),
  );
  for (const stage of launchStages) t.match(document, `\`${stage}\``, stage);
  t.end();
});

t.test('every field of every payload is named under its message', (t) => {
  for (const [name, schema] of Object.entries(payloadSchemas)) {
    const from = document.search(new RegExp(`^#### ${name}\\b`, 'm'));
    t.ok(from >= 0, `${name} has a section`);
    const rest = document.slice(from + 5);
    const section = rest.slice(0, rest.search(/^#{1,4} /m));
    for (const field of Object.keys(schema.entries))
      t.ok(section.includes(`\`${field}\``), `${name}.${field}`);
  }
  t.end();
});
