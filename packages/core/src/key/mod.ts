// Shard keys: from any value that a client may send to the one canonical form that is hashed.
export type { CanonicalKey, TypedKey } from './canonical-key.ts'
export { keyFromBinary, parseKey } from './parse-key.ts'
