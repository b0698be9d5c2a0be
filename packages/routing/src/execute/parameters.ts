// Parameters of a request (JSON values) as the text that Postgres reads for a parameter of that type.
import { FleetError, type KeyType } from '@fleetshard/core'
import type { KeyParameter } from '../plan/mod.ts'
import { formatArrayLiteral } from './array-literal.ts'

/** OIDs that decide how a JSON value is written (src/include/catalog/pg_type.dat). */
const bytea = 17
const jsonTypes = new Set([114, 3802])
const jsonArrays = new Set([199, 3807])
/** float4 and float8 with their arrays: they hold no more of a number than JSON here does. */
const floats = new Set([700, 701, 1021, 1022])

/** @throws FleetError `invalid_request` when there are not as many values as the statement has parameters */
export function checkParameterCount(params: readonly unknown[], wanted: number): void {
  if (params.length === wanted) return
  const parameters = `${String(wanted)} parameter${wanted === 1 ? '' : 's'}`
  throw new FleetError(
    'invalid_request',
    `the query has ${parameters}, but params has ${String(params.length)} values`,
    {
      hint: 'send one value for each of $1, $2, …',
    },
  )
}

/** OIDs of the types that read a text as the key type does. */
const KEY_TYPES: Readonly<Record<KeyType, readonly number[]>> = {
  text: [25, 1043],
  int2: [20, 21, 23],
  int4: [20, 21, 23],
  int8: [20, 21, 23],
  uuid: [2950],
  bytea: [bytea],
}

/** OIDs of the arrays of those types. */
const LIST_TYPES: Readonly<Record<KeyType, readonly number[]>> = {
  text: [1009, 1015],
  int2: [1005, 1007, 1016],
  int4: [1005, 1007, 1016],
  int8: [1005, 1007, 1016],
  uuid: [2951],
  bytea: [1001],
}

/**
 * Another place of the statement may give a parameter a type of its own (`values ($1::int, $1)`), by which the
 * column would get another text than the one that has decided the shard.
 * @throws FleetError `statement_refused`
 */
export function checkKeyTypes(
  keys: readonly KeyParameter[],
  types: readonly number[],
  domains: ReadonlyMap<number, number>,
): void {
  for (const { index, type, list } of keys) {
    const oid = types[index] ?? 0
    if ((list ? LIST_TYPES : KEY_TYPES)[type].includes(domains.get(oid) ?? oid)) continue
    throw new FleetError(
      'statement_refused',
      `$${String(index + 1)} is a shard key of type ${type}, but the statement reads it as another type`,
      { hint: 'use a parameter of its own for the shard key, without a cast' },
    )
  }
}

/**
 * Writes the parameters. `types` has an OID for each.
 * @throws FleetError `parameter_type`
 */
export function encodeParameters(
  params: readonly unknown[],
  types: readonly number[],
  domains: ReadonlyMap<number, number>,
): (string | null)[] {
  return params.map((value, index) => {
    const type = types[index] ?? 0
    return encodeParameter(value, domains.get(type) ?? type, index)
  })
}

function encodeParameter(value: unknown, type: number, index: number): string | null {
  if (value === null) return null
  switch (typeof value) {
    case 'string':
      if (value.includes('\0')) throw unsendable(index, 'holds a NUL character, which Postgres cannot store')
      if (!value.isWellFormed()) throw unsendable(index, 'holds half of a surrogate pair, so it is not text')
      return type === bytea ? byteaText(value) : value
    case 'number':
      if (!floats.has(type) && isInexact(value)) throw inexact(index)
      return String(value)
    case 'boolean':
      return value ? 'true' : 'false'
    case 'object':
      return notTooDeep(() => encodeObject(value, type, index), index)
    default:
      throw unsendable(index, 'has no JSON type')
  }
}

/**
 * What works through a value from JSON, which reads deeper ones than can be written.
 * @throws FleetError `parameter_type`
 */
export function notTooDeep<Result>(action: () => Result, index: number | null): Result {
  try {
    return action()
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    const which = index === null ? 'a parameter' : `the value of $${String(index + 1)}`
    throw new FleetError('parameter_type', `${which} is nested too deeply`, {
      hint: 'send it as a string that holds the JSON',
      cause: error,
    })
  }
}

function encodeObject(value: object, type: number, index: number): string {
  if (!floats.has(type) && holdsInexact(value)) throw inexact(index)
  if (jsonTypes.has(type)) return JSON.stringify(value)
  if (Array.isArray(value)) {
    const items = jsonArrays.has(type)
      ? value.map((item) => (item === null ? null : JSON.stringify(item)))
      : value
    return formatArrayLiteral(items as unknown[])
  }
  throw unsendable(index, 'is an object, but the parameter is not json or jsonb')
}

/** An integer of which JSON may have lost digits. */
const isInexact = (value: unknown): boolean =>
  typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value)

const holdsInexact = (value: unknown): boolean =>
  typeof value === 'object' && value !== null ? Object.values(value).some(holdsInexact) : isInexact(value)

const inexact = (index: number): FleetError =>
  unsendable(index, 'holds an integer that is too large to be exact as a JSON number: send it as a string')

/** base64, or `\x` and hexadecimal digits as Postgres writes it. */
function byteaText(value: string): string {
  return value.startsWith(String.raw`\x`)
    ? value
    : String.raw`\x${Buffer.from(value, 'base64').toString('hex')}`
}

function unsendable(index: number, what: string): FleetError {
  return new FleetError('parameter_type', `the value of $${String(index + 1)} ${what}`)
}
