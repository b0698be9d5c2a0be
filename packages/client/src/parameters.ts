// Parameters: from JavaScript values to the JSON values that both modes send. What has no certain meaning in
// Postgres is refused here, before anything is sent.
import { FleetError } from '@fleetshard/core'

/** A value of `$n`. Objects go as JSON; arrays as arrays, or as JSON where the parameter is json or jsonb. */
export type Parameter =
  | string
  | number
  | bigint
  | boolean
  | null
  | Date
  | Uint8Array
  | readonly Parameter[]
  | { readonly [name: string]: unknown }

/** What a router, or the executor of direct mode, takes. */
export type JsonParameter = string | number | boolean | null | object

/** Deepest nesting of arrays (MAXDIM of Postgres is 6; JSON may be deeper). */
const arrayDepthMax = 100

/**
 * The values as they are sent.
 * @throws FleetError `parameter_type`, naming the parameter
 */
export function toJsonParameters(values: readonly unknown[]): readonly JsonParameter[] {
  const first = values.findIndex((value) => typeof value !== 'string')
  if (first !== -1) return convertFrom(values, first)
  // Strings go as they are: nothing to convert, nothing to copy.
  return values as readonly string[]
}

function convertFrom(values: readonly unknown[], first: number): readonly JsonParameter[] {
  return values.map((value, index) =>
    index < first ? (value as string) : toJson(value, `$${String(index + 1)}`, 0),
  )
}

function toJson(value: unknown, name: string, depth: number): JsonParameter {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value
    case 'number':
      // JSON has no NaN and no Infinity; Postgres reads them as text.
      return Number.isFinite(value) ? value : String(value)
    case 'bigint':
      return value.toString()
    case 'object':
      return value === null ? null : objectToJson(value, name, depth)
    case 'undefined':
      throw unsendable(name, 'is undefined', 'pass null for NULL')
    default:
      throw unsendable(name, `is a ${typeof value}`, 'pass a string, number, boolean, bytes, array or object')
  }
}

function objectToJson(value: object, name: string, depth: number): JsonParameter {
  if (value instanceof Date) return dateText(value, name)
  // Inside an array literal Postgres itself reads the bytes, and it knows no base64.
  if (value instanceof Uint8Array) return depth === 0 ? base64(value) : String.raw`\x${hex(value)}`
  if (!Array.isArray(value)) return plainJson(value, name)
  if (depth >= arrayDepthMax) throw unsendable(name, 'is nested too deeply', 'pass it as json')
  return value.map((item: unknown, index) => toJson(item, `${name}[${String(index)}]`, depth + 1))
}

function dateText(value: Date, name: string): string {
  if (!Number.isNaN(value.getTime())) return value.toISOString()
  throw unsendable(name, 'is an invalid Date', 'pass a valid one, or null')
}

/** As JSON.stringify sees it: `toJSON` is called, `undefined` fields are left out. */
function plainJson(value: object, name: string): JsonParameter {
  try {
    return JSON.parse(JSON.stringify(value)) as JsonParameter
  } catch (cause) {
    throw new FleetError('parameter_type', `the value of ${name} cannot be written as JSON`, {
      hint: 'remove cycles and bigint from it',
      cause,
    })
  }
}

function unsendable(name: string, what: string, hint: string): FleetError {
  return new FleetError('parameter_type', `the value of ${name} ${what}`, { hint })
}

/** Characters given to String.fromCharCode at once. */
const charactersAtOnce = 8_192

/** Bytes as base64, without the memory of one call for each byte. */
function base64(bytes: Uint8Array): string {
  let binary = ''
  for (let at = 0; at < bytes.length; at += charactersAtOnce) {
    binary += String.fromCharCode(...bytes.subarray(at, at + charactersAtOnce))
  }
  return btoa(binary)
}

const hex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')

/** A shard key as a caller may give it. */
export type ShardKey = string | number | bigint

/** The key as it is sent. @throws FleetError `invalid_shard_key` */
export function toJsonKey(key: unknown): string | number {
  if (typeof key === 'string' || typeof key === 'number') return key
  if (typeof key === 'bigint') return key.toString()
  const what = key === null || key === undefined ? 'NULL has no shard' : `a ${typeof key} is not a shard key`
  throw new FleetError('invalid_shard_key', what, {
    hint: 'give the value of the shard key column: a string, a number or a bigint',
  })
}
