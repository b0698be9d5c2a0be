// FNV-1a, 32 bits, for the `modulo` strategy. Algorithm: Fowler, Noll, Vo, public domain; RFC 9923.
import type { HashFunction } from './hash-function.ts'
import type { Hash64 } from './hash64.ts'
import { copyBytes, encodeText, type HashInput } from './hash-input.ts'

/** FNV-1a: the hash is in `lo`, `hi` is 0. */
export const fnv1a: HashFunction = {
  name: 'fnv1a',
  bits: 32,
  ofKey(canonical, _type, out) {
    hash(encodeText(canonical), out)
  },
  ofBytes(bytes, out) {
    hash(copyBytes(bytes), out)
  },
}

function hash(input: HashInput, out: Hash64): void {
  const { bytes, length } = input
  let value = 0x811c9dc5 | 0
  for (let i = 0; i < length; i++) value = Math.imul(value ^ bytes[i]!, 0x01000193)
  out.hi = 0
  out.lo = value >>> 0
}
