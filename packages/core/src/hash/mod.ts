// Hashes of shard keys. A hash is an on-disk format: a function here is never edited, only added.
export type { HashFunction } from './hash-function.ts'
export { formatHash, makeHash64, type Hash64 } from './hash64.ts'
export { HASHES } from './hashes.ts'
export { hashBytesExtended, hashInt8Extended, hashTextExtended, hashUuidExtended } from './postgres.ts'
export { keyBytesMax } from './hash-input.ts'
