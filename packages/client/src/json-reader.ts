// Reading outside JSON without a schema library, which would be most of the package in a browser: each reader checks
// one value and names the field that is wrong.
import { FleetError } from '@fleetshard/core'

/** A JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>

/** Text as JSON; undefined where it is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}

/** @throws FleetError `server_unreachable`, since whatever answered is no FleetShard server */
function wrong(field: string): FleetError {
  return new FleetError('server_unreachable', `the answer of the router has no usable ${field}`, {
    hint: 'check that the URL is that of a FleetShard router, and that the versions fit',
  })
}

/** The value as an object. */
export function objectOf(value: unknown, field: string): JsonObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject
  throw wrong(field)
}

/** The array under `field`. */
export function arrayAt(object: JsonObject, field: string): readonly unknown[] {
  const value = object[field]
  if (Array.isArray(value)) return value as readonly unknown[]
  throw wrong(field)
}

/** The text under `field`. */
export function textAt(object: JsonObject, field: string): string {
  const value = object[field]
  if (typeof value === 'string') return value
  throw wrong(field)
}

/** The text under `field`; null where there is none. */
export function textOrNullAt(object: JsonObject, field: string): string | null {
  const value = object[field]
  if (value === null || value === undefined) return null
  return textAt(object, field)
}

/** The number under `field`. */
export function numberAt(object: JsonObject, field: string): number {
  const value = object[field]
  if (typeof value === 'number') return value
  throw wrong(field)
}

/** The text under `field` when it is one of those. */
export function oneOfAt<T extends string>(object: JsonObject, field: string, allowed: readonly T[]): T {
  const value = object[field]
  const found = allowed.find((each) => each === value)
  if (found !== undefined) return found
  throw wrong(field)
}
