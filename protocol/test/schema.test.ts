/**
 * The published surface of the protocol does not change.
 *
 * A difference here means that peers already in use would no longer understand this one. What may be
 * done, in the order of preference:
 *
 * - A new optional field, a new error code or launch stage in generation N that was never published:
 *   `UPDATE_SCHEMA=1 npx tap protocol/test/schema.test.ts` writes `schema/gen-N.json` anew. Look at the
 *   difference: only additions may be in it once N was published.
 * - A new frame type, or a field that a peer has to understand: a new generation. Add its number to
 *   `generations`, give the new frame types `since: N+1`, run the command above (it writes
 *   `schema/gen-{N+1}.json` beside the old file, which stays), and describe it in PROTOCOL.md.
 * - A field removed, renamed or given another meaning: not at all.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { toJsonSchema } from '@valibot/to-json-schema';
import t from 'tap';
import type { GenericSchema } from 'valibot';
import { generations } from '../src/connection/generations.js';
import { errorCodes, launchStages } from '../src/errors.js';
import { frameTypes } from '../src/frames/frame-types.js';
import { frameFlags, headerAt, headerBytes, magic0, magic1, offsetMax } from '../src/frames/header.js';
import { defaultLimits, frameBytesMin } from '../src/limits.js';
import { payloadSchemas } from '../src/messages/schemas.js';

/** Limits whose default a peer counts on without being told. */
const sharedLimits = [
  'frameBytesMax',
  'greetingBytesMax',
  'lanesMax',
  'messageStringBytesMax',
  'messageListMax',
  'messageMapMax',
  'messageValuesMax',
  'messageDepthMax',
  'ackDelayMs',
  'ackMessagesMax',
  'heartbeatIntervalMs',
  'heartbeatTimeoutMs',
] as const;

/** JSON Schema has no byte strings and no integers beyond 2^53: both are named by a `format`. */
function jsonSchema(schema: GenericSchema): object {
  const { $schema: _, ...rest } = toJsonSchema(schema, {
    errorMode: 'ignore',
    overrideSchema: ({ valibotSchema, jsonSchema: plain }) => {
      if (valibotSchema.type === 'instance') return { type: 'string', format: 'bytes' };
      if (valibotSchema.type === 'bigint') return { type: 'integer', format: 'uint64' };
      return plain;
    },
    overrideAction: ({ valibotAction, jsonSchema: plain }) => {
      if (valibotAction.type === 'safe_integer')
        return { ...plain, type: 'integer', maximum: Number.MAX_SAFE_INTEGER };
      if (valibotAction.type === 'check')
        return { ...plain, description: (valibotAction as unknown as { message: string }).message };
      const { requirement } = valibotAction as { requirement?: unknown };
      return typeof requirement === 'bigint' ? plain : null;
    },
  });
  return rest;
}

function surface(generation: number): object {
  const types = Object.entries(frameTypes).filter(([, { since }]) => since <= generation);
  return {
    generation,
    header: {
      bytes: headerBytes,
      magic: [magic0, magic1],
      at: headerAt,
      offsetMax,
      flags: frameFlags,
    },
    frameTypes: Object.fromEntries(types),
    payloads: Object.fromEntries(
      types
        .filter(([name]) => name in payloadSchemas)
        .map(([name]) => [name, jsonSchema(payloadSchemas[name as keyof typeof payloadSchemas])]),
    ),
    errorCodes,
    launchStages,
    limits: { ...Object.fromEntries(sharedLimits.map((name) => [name, defaultLimits[name]])), frameBytesMin },
  };
}

for (const generation of generations) {
  const file = new URL(`../schema/gen-${generation}.json`, import.meta.url);
  const isNewest = generation === generations.at(-1);

  t.test(`what was published of generation ${generation} is unchanged`, (t) => {
    const now = JSON.parse(JSON.stringify(surface(generation))) as Record<string, unknown>;
    if (isNewest && process.env['UPDATE_SCHEMA'] === '1') {
      writeFileSync(file, `${JSON.stringify(now, null, 2)}\n`);
    }
    const published = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
    for (const part of Object.keys({ ...published, ...now })) {
      t.strictSame(now[part], published[part], `${part} (see the comment at the top of schema.test.ts)`);
    }
    t.end();
  });
}

t.test('numbers of frame types are used once and lie in the range of their class', (t) => {
  const ids = Object.values(frameTypes).map(({ id }) => id);
  t.equal(new Set(ids).size, ids.length);
  for (const { id, class: kind } of Object.values(frameTypes)) {
    t.equal(kind, id < 0x20 ? 'link' : id < 0x80 ? 'message' : 'data');
  }
  t.end();
});
