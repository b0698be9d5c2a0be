// What every hash function offers. The table of them is hashes.ts; each lies in a file of its own.
import type { HashName, KeyType } from '../model.ts'
import type { Hash64 } from './hash64.ts'

/** A hash is an on-disk format: once keys are placed by it, not one bit of it may change. */
export interface HashFunction {
  readonly name: HashName
  /** How many bits of the result mean something; with 32, `hi` is always 0. The ring needs 64. */
  readonly bits: 32 | 64
  /** Hashes a key in its canonical text form (see key/) into `out`, without allocating. */
  ofKey(canonical: string, type: KeyType, out: Hash64): void
  /** Hashes bytes as they are into `out`. */
  ofBytes(bytes: Uint8Array, out: Hash64): void
}
