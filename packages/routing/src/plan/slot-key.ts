// A value of a request as the canonical key that placement hashes.
import { FleetError, parseKey, type CanonicalKey, type KeyType } from '@fleetshard/core'

/** The key that a parameter, or `shard_key`, stands for. @throws FleetError `invalid_shard_key` */
export function slotKey(value: unknown, type: KeyType): CanonicalKey {
  if (value === undefined) {
    throw new FleetError('invalid_shard_key', 'the parameter that has the shard key is missing', {
      hint: 'send a value for every $n of the query in params',
    })
  }
  return parseKey(type === 'bytea' ? bytesOf(value) : value, type)
}

/** bytea parameters travel as base64, or as `\x` and hexadecimal digits. */
function bytesOf(value: unknown): unknown {
  return typeof value === 'string' && !value.startsWith(String.raw`\x`) ? Buffer.from(value, 'base64') : value
}
