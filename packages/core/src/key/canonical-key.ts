// A shard key as placement sees it: one canonical text form per value, so that `42` over HTTP, `"42"` in JSON
// and int8 42 over the wire are the same key.
import type { KeyType } from '../model.ts'

declare const canonicalKey: unique symbol

/** A key in its type's canonical text form; made only by the parsers here. */
export type CanonicalKey = string & { readonly [canonicalKey]: 'CanonicalKey' }

/** One column of a shard key. */
export interface TypedKey {
  readonly text: CanonicalKey
  readonly type: KeyType
}
