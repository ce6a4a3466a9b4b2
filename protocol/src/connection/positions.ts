import type { Payload } from '../messages/schemas.js';
import type { ReceivePosition } from './send-stream.js';

/** How far one end has received everything: what the other end goes on from, on a new line or after a loss. */
export interface Positions {
  /** The number of the last message. */
  readonly received: number;
  /** Those that are open; of one that is not named, the other end knows nothing, or nothing any more. */
  readonly streams: readonly StreamPosition[];
}

export interface StreamPosition extends ReceivePosition {
  readonly channel: number;
  readonly typeId: number;
}

/** Of a peer that has received nothing yet. */
export const startPositions: Positions = { received: 0, streams: [] };

type PositionsOnWire = NonNullable<Payload<'Hello'>['resume']>;

export function positionsOnWire({ received, streams }: Positions): PositionsOnWire {
  return {
    received,
    streams: streams.map((stream) => [
      stream.channel,
      stream.typeId,
      stream.received,
      stream.consumed,
      stream.limit,
      stream.finished ? 1 : 0,
    ]),
  };
}

export function positionsFromWire(onWire: PositionsOnWire | undefined): Positions {
  if (onWire === undefined) return startPositions;
  return {
    received: onWire.received,
    streams: onWire.streams.map(([channel, typeId, received, consumed, limit, finished]) => ({
      channel,
      typeId,
      received,
      consumed,
      limit,
      finished: finished === 1,
    })),
  };
}
