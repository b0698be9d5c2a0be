// The part of etcd's keys that is ours: everything under one prefix.
import { prefixEnd } from '../../prefix.ts'

/** Keys as etcd has them. */
export interface KeySpace {
  toEtcd(key: string): Buffer
  fromEtcd(key: Buffer): string
  /** The range of the keys that begin with a prefix, for a request. */
  range(prefix: string): { readonly key: Buffer; readonly range_end: Buffer }
}

/** @param root what each of our keys begins with; not empty */
export function createKeySpace(root: string): KeySpace {
  const rootBytes = Buffer.byteLength(root)
  return {
    toEtcd: (key) => Buffer.from(root + key),
    fromEtcd: (key) => key.toString('utf8', rootBytes),
    // etcd reads the end 0 as "no end", which a prefix of the last code point would need.
    range: (prefix) => ({
      key: Buffer.from(root + prefix),
      range_end: Buffer.from(prefixEnd(root + prefix) ?? '\0'),
    }),
  }
}
