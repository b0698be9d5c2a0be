// The key of a row as binary COPY brings it. Hashes are numerics there: groups of four decimal digits, the highest
// first. Format: numeric_send in PostgreSQL's src/backend/utils/adt/numeric.c.
import { FleetError, keyFromBinary, parseKey } from '@fleetshard/core'
import type { PlacedBy, PlacingKey } from '../../reshard-engine.ts'

/** @throws FleetError `invalid_shard_key` */
export function keyOfBinary(bytes: Buffer | null, by: PlacedBy): PlacingKey {
  if (by !== 'hash') return keyFromBinary(bytes, by)
  return bytes === null ? null : parseKey(wholeNumber(bytes), 'text')
}

/** Count of groups, weight of the first, sign, digits after the point; 16 bits each. */
const headerBytes = 8
const groupBase = 10_000n
/** A 64-bit hash has up to 20 digits. */
const groupsMax = 5

function wholeNumber(bytes: Buffer): string {
  const count = bytes.length < headerBytes ? -1 : bytes.readUInt16BE(0)
  if (count < 0 || count > groupsMax || bytes.length !== headerBytes + 2 * count) throw noHash()
  const weight = bytes.readInt16BE(2)
  const isPlain = bytes.readUInt16BE(4) === 0 && (count === 0 || (weight >= count - 1 && weight < groupsMax))
  if (!isPlain) throw noHash()
  let number = 0n
  for (let group = 0; group < count; group += 1) {
    number = number * groupBase + BigInt(bytes.readUInt16BE(headerBytes + 2 * group))
  }
  // Groups of zeros at the end are left out.
  return String(count === 0 ? 0n : number * groupBase ** BigInt(weight - count + 1))
}

const noHash = (): FleetError =>
  new FleetError('invalid_shard_key', 'a stored hash is not a whole 64-bit number')
