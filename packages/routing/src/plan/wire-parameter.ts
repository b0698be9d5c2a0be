// A parameter as the wire brought it, read as a shard key: text, or the binary form of the types that are certain.
import { FleetError, keyFromBinary, parseKey, type CanonicalKey, type KeyType } from '@fleetshard/core'
import { parseArrayText } from './array-text.ts'

/** The value of a `$n` in a Bind message. Stands in `params` of a placement among values of JSON. */
export class WireParameter {
  /** Null for NULL. */
  readonly bytes: Uint8Array | null
  readonly format: 'text' | 'binary'
  /** OID of the type by which the server reads the bytes; 0 while it is not known, and then only text is understood. */
  readonly typeOid: number

  constructor(value: { bytes: Uint8Array | null; format: 'text' | 'binary'; typeOid: number }) {
    this.bytes = value.bytes
    this.format = value.format
    this.typeOid = value.typeOid
  }
}

/** Types whose binary form is read (src/include/catalog/pg_type.dat), by OID; arrays by that of their elements. */
const BINARY_TYPES: Readonly<Record<number, KeyType>> = {
  17: 'bytea',
  20: 'int8',
  21: 'int2',
  23: 'int4',
  25: 'text',
  1043: 'text',
  2950: 'uuid',
}

/** The array types with elements of those types. */
const ARRAY_TYPES: Readonly<Record<number, KeyType>> = {
  1001: 'bytea',
  1016: 'int8',
  1005: 'int2',
  1007: 'int4',
  1009: 'text',
  1015: 'text',
  2951: 'uuid',
}

/** Not known yet, and `unknown`. */
const untyped = new Set([0, 705])

const isInteger = (type: KeyType): boolean => type === 'int2' || type === 'int4' || type === 'int8'

const reads = (type: KeyType | undefined, keyType: KeyType): boolean =>
  type !== undefined && (type === keyType || (isInteger(type) && isInteger(keyType)))

/**
 * The key that a parameter stands for.
 * @throws FleetError `invalid_shard_key`, also for binary forms of other types than the key's own
 */
export function keyOfParameter(parameter: WireParameter, keyType: KeyType): CanonicalKey {
  const { bytes, format, typeOid } = parameter
  if (bytes === null) return parseKey(null, keyType)
  if (format === 'binary') return binaryKey(bytes, typeOid, keyType)
  if (!untyped.has(typeOid) && !reads(BINARY_TYPES[typeOid], keyType)) throw unreadable(typeOid, keyType)
  return parseKey(textOf(bytes), keyType)
}

/**
 * The keys that an array parameter stands for; its NULLs are no keys, since nothing equals them.
 * @throws FleetError `invalid_shard_key`
 */
export function keysOfParameter(parameter: WireParameter, keyType: KeyType): readonly CanonicalKey[] {
  const { bytes, format, typeOid } = parameter
  if (bytes === null) return []
  const element = ARRAY_TYPES[typeOid]
  if (format === 'text') {
    if (!untyped.has(typeOid) && !reads(element, keyType)) throw unreadable(typeOid, keyType)
    return parseArrayText(textOf(bytes)).flatMap((item) => (item === null ? [] : [parseKey(item, keyType)]))
  }
  if (!reads(element, keyType)) throw unreadable(typeOid, keyType)
  return binaryItems(bytes).flatMap(({ item, element }) =>
    item === null ? [] : [binaryKey(item, element, keyType)],
  )
}

function binaryKey(bytes: Uint8Array, typeOid: number, keyType: KeyType): CanonicalKey {
  const type = BINARY_TYPES[typeOid]
  if (type === undefined || !reads(type, keyType)) throw unreadable(typeOid, keyType)
  // An int8 may hold what no int4 column does; it then equals no row, and is refused as out of range.
  return type === keyType ? keyFromBinary(bytes, type) : parseKey(keyFromBinary(bytes, type), keyType)
}

function unreadable(typeOid: number, keyType: KeyType): FleetError {
  return new FleetError(
    'invalid_shard_key',
    `the shard key is ${keyType}, but its parameter came as another type (OID ${String(typeOid)})`,
    { hint: `send the parameter as ${keyType}` },
  )
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Keys up to this length are looked through for ASCII: a decoder costs more than they do. */
const shortKeyBytes = 64

const isShortAscii = (bytes: Uint8Array): boolean =>
  bytes.length <= shortKeyBytes && bytes.every((byte) => byte < 0x80)

function textOf(bytes: Uint8Array): string {
  if (bytes instanceof Buffer && isShortAscii(bytes)) return bytes.toString('latin1')
  try {
    return decoder.decode(bytes)
  } catch (cause) {
    throw new FleetError('invalid_shard_key', 'the shard key is not valid UTF-8', {
      cause,
      hint: 'send text in UTF-8',
    })
  }
}

const dimensionsMax = 6

/** Elements of an array in its binary form (array_recv in src/backend/utils/adt/arrayfuncs.c). */
function binaryItems(bytes: Uint8Array): { item: Uint8Array | null; element: number }[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const malformed = (): FleetError =>
    new FleetError('invalid_shard_key', 'an array parameter is malformed', { hint: 'send a valid array' })
  if (bytes.length < 12) throw malformed()
  const dimensions = view.getInt32(0)
  const element = view.getInt32(8)
  let at = 12 + dimensions * 8
  if (dimensions < 0 || dimensions > dimensionsMax || at > bytes.length) throw malformed()
  const items: { item: Uint8Array | null; element: number }[] = []
  while (at < bytes.length) {
    if (at + 4 > bytes.length) throw malformed()
    const length = view.getInt32(at)
    at += 4
    if (length < -1 || at + Math.max(length, 0) > bytes.length) throw malformed()
    items.push({ item: length === -1 ? null : bytes.subarray(at, at + length), element })
    at += Math.max(length, 0)
  }
  return items
}
