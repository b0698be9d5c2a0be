// The detail of a `schema` job: written by the manager that creates it, read and carried on by the schema worker.
// It lives here because both may import the engine and neither may import the other.
import { FleetError, type ShardId, type TableRecord } from '@fleetshard/core'
import Type, { type Static } from 'typebox'
import { compiledOnUse } from '@fleetshard/core/contract'
import type { TableDeclaration } from './schema-facts.ts'

/** `type` of the job's record. */
export const schemaJobType = 'schema'

const declaration = Type.Object({
  name: Type.String({ minLength: 3, maxLength: 260 }),
  kind: Type.Unsafe<TableDeclaration['kind']>(Type.Enum(['sharded', 'reference', 'global'])),
  keyColumn: Type.Union([Type.String({ minLength: 1, maxLength: 63 }), Type.Null()]),
  homeShard: Type.Optional(Type.Union([Type.Unsafe<ShardId>(Type.String()), Type.Null()])),
  triggersKeepKey: Type.Optional(Type.Boolean()),
})

const failure = Type.Object({
  code: Type.String(),
  message: Type.String(),
  hint: Type.Union([Type.String(), Type.Null()]),
  sqlstate: Type.String(),
})

const detail = Type.Object({
  /** The script as it was given. */
  ddl: Type.String({ minLength: 1 }),
  declarations: Type.Array(declaration, { minItems: 1, maxItems: 32 }),
  /** Shards of the keyspace when the work began; null before. */
  shards: Type.Union([Type.Array(Type.Unsafe<ShardId>(Type.String()), { maxItems: 1_000 }), Type.Null()]),
  /** Why the job is rolled back; null while it is not. */
  failure: Type.Union([failure, Type.Null()]),
})

/** Input and working state of a schema job. */
export type SchemaJobDetail = Static<typeof detail>
/** Why a schema job failed. */
export type SchemaJobFailure = Static<typeof failure>

const checker = compiledOnUse(detail)

/** The detail of a job that has not begun: state `planned`, status `pending`. */
export function newSchemaJobDetail(input: {
  readonly ddl: string
  readonly declarations: readonly TableDeclaration[]
}): SchemaJobDetail {
  return {
    ddl: input.ddl,
    declarations: input.declarations.map((given) => ({ ...given })),
    shards: null,
    failure: null,
  }
}

/** @throws FleetError `corrupt_record` */
export function parseSchemaJobDetail(value: unknown): SchemaJobDetail {
  if (checker().Check(value)) return value
  throw new FleetError('corrupt_record', 'the detail of a schema job does not have the form of this version')
}

/**
 * What makes the tables on a fresh shard: the stored scripts in the order of their creation. Tables without one were
 * adopted, and can't be made from here.
 */
export function storedStatements(tables: readonly TableRecord[]): {
  readonly statements: readonly string[]
  readonly missing: readonly string[]
} {
  const ordered = [...tables].sort(
    (a, b) => a.createdAt.localeCompare(b.createdAt) || a.name.localeCompare(b.name),
  )
  return {
    statements: ordered.flatMap(({ ddl }) => ddl ?? []),
    missing: ordered.filter(({ ddl }) => ddl === null).map(({ name }) => name),
  }
}
