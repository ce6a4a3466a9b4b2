import { added, library } from './native.js';

/** Microseconds since 1970. Needs CAP_SYS_TIME. */
export const setClock = added('setClock') as (us: number) => number;

/** Each byte counts as eight bits of entropy. Needs CAP_SYS_ADMIN. */
export const addEntropy = library.func('int32_t hawser_add_entropy(const void *bytes, int32_t length)') as (
  bytes: Uint8Array,
  length: number,
) => number;
