// The table of hash functions: the one place that a new one is added to, besides its own file and golden vectors.
import type { HashName } from '../model.ts'
import { fnv1a } from './fnv1a.ts'
import type { HashFunction } from './hash-function.ts'
import { murmur3 } from './murmur3.ts'
import { postgres } from './postgres.ts'
import { xxhash } from './xxhash.ts'

/** Every hash by its name. */
export const HASHES = { murmur3, xxhash, postgres, fnv1a } as const satisfies Record<HashName, HashFunction>
