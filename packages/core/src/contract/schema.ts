// Building blocks of the contract's schemas. Every object is closed: a field that is not named is refused.
import { Type, type TProperties, type TSchema } from 'typebox'

/** A closed object: unknown fields are refused by name. `$id` is not used; schemas are inlined into OpenAPI. */
export function closed<P extends TProperties>(properties: P, description?: string, example?: object) {
  return Type.Object(properties, {
    additionalProperties: false,
    ...(description === undefined ? {} : { description }),
    ...(example === undefined ? {} : { examples: [example] }),
  })
}

/** That schema or null. */
export function nullable<S extends TSchema>(schema: S) {
  return Type.Union([schema, Type.Null()])
}

/** One of the given words. */
export function oneOf<const Words extends string[]>(words: readonly [...Words], description?: string) {
  return Type.Enum([...words], description === undefined ? {} : { description })
}

/** ISO 8601 time. */
export const TimeSchema = Type.String({ description: 'ISO 8601 time' })

/** +1 at every change of the record; the value of ETag and If-Match. */
export const VersionSchema = Type.Integer({ minimum: 0, description: '+1 at every change of the record' })

/** Position on the 64-bit ring: an unsigned integer in decimal, as a string since JSON numbers are doubles. */
export const HashPositionSchema = Type.String({
  pattern: '^(0|[1-9][0-9]{0,19})$',
  description: 'position on the 64-bit ring, unsigned decimal',
})

/** Name of a keyspace: a lowercase identifier of up to 63 characters. */
export const KeyspaceNameSchema = Type.String({ pattern: '^[a-z_][a-z0-9_]{0,62}$', examples: ['default'] })

/** What ids of shards, nodes and jobs look like. */
export const idPattern = '^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$'

/** Id of a shard, node or job. */
export const IdSchema = Type.String({ pattern: idPattern })

/** Which agent is to run a server; its name in the catalog. */
export function agentChoice(description: string) {
  return Type.Optional(Type.String({ minLength: 1, maxLength: 63, description }))
}

/** `postgres://` or `postgresql://` URL of a server and its database. */
export const EndpointSchema = Type.String({
  minLength: 1,
  maxLength: 2048,
  examples: ['postgres://app:secret@db-1.internal:5432/app'],
  description: 'postgres:// URL; the password is kept apart and never shown again',
})

/** Which consistency statements get that do not ask for one. */
export const ConsistencySchema = oneOf(['strong', 'eventual'])
