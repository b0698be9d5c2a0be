// Parses shard keys: JSON values, JavaScript values, Postgres text and binary forms. Whatever is not certainly one
// value of the type is refused, since a key read differently than Postgres reads it lands on a wrong shard.
import { assertNever } from '../assert-never.ts'
import { FleetError } from '../errors/fleet-error.ts'
import { keyBytesMax } from '../hash/hash-input.ts'
import type { KeyType } from '../model.ts'
import type { CanonicalKey } from './canonical-key.ts'
import { integerFromBinary, parseInteger } from './integer.ts'

/**
 * The canonical form of a value as a key of that type. Takes strings (Postgres' text form), numbers and bigints
 * (integer types, and text, where 42 is `42`), Uint8Array (bytea, and 16 bytes as a uuid). Canonical forms parse
 * to themselves.
 * @throws FleetError `invalid_shard_key`, also for null, undefined and empty values
 */
export function parseKey(value: unknown, type: KeyType): CanonicalKey {
  if (value === null || value === undefined) throw nullKey()
  switch (type) {
    case 'text':
      return parseText(value) as CanonicalKey
    case 'int2':
    case 'int4':
    case 'int8':
      return parseInteger(value, type) as CanonicalKey
    case 'uuid':
      return parseUuid(value) as CanonicalKey
    case 'bytea':
      return parseBytea(value) as CanonicalKey
    default:
      return assertNever(type)
  }
}

/**
 * The canonical form of a key that came in the binary format of the Postgres wire; null for NULL.
 * @throws FleetError `invalid_shard_key`
 */
export function keyFromBinary(bytes: Uint8Array | null, type: KeyType): CanonicalKey {
  if (bytes === null) throw nullKey()
  switch (type) {
    case 'text':
      return parseText(decodeUtf8(bytes)) as CanonicalKey
    case 'int2':
    case 'int4':
    case 'int8':
      return integerFromBinary(bytes, type) as CanonicalKey
    case 'uuid':
      return parseUuid(bytes) as CanonicalKey
    case 'bytea':
      return parseBytea(bytes) as CanonicalKey
    default:
      return assertNever(type)
  }
}

function nullKey(): FleetError {
  return new FleetError('invalid_shard_key', 'NULL has no shard', {
    hint: 'send a value of the type of the shard key column',
  })
}

function emptyKey(type: KeyType): FleetError {
  return new FleetError('invalid_shard_key', `an empty ${type} value is not a shard key`, {
    hint: 'send a value that is not empty',
  })
}

function tooLong(): FleetError {
  return new FleetError('invalid_shard_key', `the shard key is longer than ${String(keyBytesMax)} bytes`, {
    hint: 'choose a shorter value as the shard key',
  })
}

function wrongKind(value: unknown, type: KeyType): FleetError {
  const kind = value instanceof Uint8Array ? 'bytes' : Array.isArray(value) ? 'array' : typeof value
  return new FleetError('invalid_shard_key', `a value of kind ${kind} is not a shard key of type ${type}`, {
    hint: type === 'bytea' ? 'send the \\x… form' : 'send a string',
  })
}

function parseText(value: unknown): string {
  if (typeof value === 'number') return parseInteger(value, null)
  if (typeof value === 'bigint') return parseText(String(value))
  if (typeof value !== 'string') throw wrongKind(value, 'text')
  if (value === '') throw emptyKey('text')
  if (value.length * 3 > keyBytesMax && utf8Length(value) > keyBytesMax) throw tooLong()
  if (value.includes('\0')) {
    throw new FleetError(
      'invalid_shard_key',
      'the shard key has a NUL character, which Postgres cannot store',
      {
        hint: 'send text without U+0000',
      },
    )
  }
  if (!value.isWellFormed()) {
    throw new FleetError(
      'invalid_shard_key',
      'the shard key has half of a surrogate pair, so it is not text',
      {
        hint: 'send well-formed Unicode',
      },
    )
  }
  return value
}

function utf8Length(text: string): number {
  return text.length > keyBytesMax ? text.length : new TextEncoder().encode(text).length
}

function decodeUtf8(bytes: Uint8Array): string {
  if (bytes.length > keyBytesMax) throw tooLong()
  try {
    // The byte order mark is a character like any other here: dropping it would change the key.
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw new FleetError('invalid_shard_key', 'the shard key is not valid UTF-8', {
      cause,
      hint: 'send text in UTF-8',
    })
  }
}

// The forms that Postgres' uuid_in takes: any case, braces around, a hyphen after any group of four digits.
const UUID = /^(?:[0-9a-f]{4}-?){7}[0-9a-f]{4}$/i
const UUID_CANONICAL = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
/** Longest accepted form: 32 digits, 7 hyphens, 2 braces. */
const uuidCharactersMax = 41

function parseUuid(value: unknown): string {
  if (value instanceof Uint8Array) {
    if (value.length === 16) return groupUuid(hexOf(value))
    throw badUuid(`${String(value.length)} bytes`)
  }
  if (typeof value !== 'string') throw wrongKind(value, 'uuid')
  if (UUID_CANONICAL.test(value)) return value
  if (value === '') throw emptyKey('uuid')
  const bare = value.startsWith('{') && value.endsWith('}') ? value.slice(1, -1) : value
  if (value.length > uuidCharactersMax || !UUID.test(bare)) throw badUuid(JSON.stringify(value.slice(0, 80)))
  return groupUuid(bare.replaceAll('-', '').toLowerCase())
}

function badUuid(shown: string): FleetError {
  return new FleetError('invalid_shard_key', `${shown} is not a uuid`, {
    hint: 'a uuid looks like a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
    sqlstate: '22P02',
  })
}

function groupUuid(hex: string): string {
  const [a, b, c, d, e] = [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20),
  ]
  return `${a}-${b}-${c}-${d}-${e}`
}

const BYTEA = /^\\x(?:[0-9a-fA-F]{2})*$/

function parseBytea(value: unknown): string {
  if (value instanceof Uint8Array) {
    if (value.length === 0) throw emptyKey('bytea')
    if (value.length * 2 + 2 > keyBytesMax) throw tooLong()
    return `\\x${hexOf(value)}`
  }
  if (typeof value !== 'string') throw wrongKind(value, 'bytea')
  if (value.length > keyBytesMax) throw tooLong()
  if (value === '' || value === '\\x') throw emptyKey('bytea')
  if (!BYTEA.test(value)) {
    throw new FleetError('invalid_shard_key', `${JSON.stringify(value.slice(0, 80))} is not bytea`, {
      hint: 'send bytes as \\x and pairs of hexadecimal digits, such as \\xdeadbeef',
    })
  }
  return value.toLowerCase()
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

function hexOf(bytes: Uint8Array): string {
  let hex = ''
  for (const byte of bytes) hex += HEX[byte]!
  return hex
}
