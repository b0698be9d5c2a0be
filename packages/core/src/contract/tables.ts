// Contract of /api/v1/keyspaces/{keyspace}/tables.
import { Type, type Static } from 'typebox'
import { Job } from './jobs.ts'
import { KeyspaceNameSchema, TimeSchema, VersionSchema, closed, nullable, oneOf } from './schema.ts'

const TableKindSchema = oneOf(
  ['sharded', 'reference', 'global'],
  'sharded: rows by key; reference: all rows on every shard; global: all rows on one shard',
)
const KeyTypeSchema = oneOf(['text', 'int2', 'int4', 'int8', 'uuid', 'bytea'])

/** Table name as Postgres prints it, with its schema or in `public`: `users`, `public.users`, `"Odd name"`. */
const TableNameSchema = Type.String({ minLength: 1, maxLength: 255, examples: ['users', 'public.users'] })

/** One declared table. */
export const Table = closed({
  keyspace: KeyspaceNameSchema,
  name: Type.String({ description: 'with its schema: public.users' }),
  kind: TableKindSchema,
  key_column: nullable(Type.String()),
  key_type: nullable(KeyTypeSchema),
  home_shard: nullable(Type.String({ description: 'id of the shard that holds all rows of a global table' })),
  ddl: nullable(Type.String({ description: 'statements that create it on a fresh shard' })),
  version: VersionSchema,
  created_at: TimeSchema,
})
/** One declared table. */
export type Table = Static<typeof Table>

/** Answer of GET …/tables. */
export const TableList = closed({ tables: Type.Array(Table) })
/** Answer of GET …/tables. */
export type TableList = Static<typeof TableList>

/** How one table is to be declared. */
export const TableDeclaration = closed({
  name: TableNameSchema,
  kind: Type.Optional(TableKindSchema),
  key_column: Type.Optional(Type.String({ minLength: 1, maxLength: 63 })),
})
/** How one table is to be declared; `kind` is `sharded` if left out, which needs `key_column`. */
export type TableDeclaration = Static<typeof TableDeclaration>

/** Body of POST …/tables. */
export const CreateTables = closed({
  name: Type.Optional(TableNameSchema),
  kind: Type.Optional(TableKindSchema),
  key_column: Type.Optional(Type.String({ minLength: 1, maxLength: 63 })),
  tables: Type.Optional(Type.Array(TableDeclaration, { minItems: 1, maxItems: 20 })),
  ddl: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 131_072,
      description: 'statements that create the tables, run on every shard or on none; without it they exist',
    }),
  ),
  wait_ms: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: 60_000,
      description: 'how long to wait for the job; 30000 by default',
    }),
  ),
})
/** Body of POST …/tables: one table by `name`, or several by `tables`; never both. */
export type CreateTables = Static<typeof CreateTables>

/** Answer of POST …/tables: 201 with the tables, or 202 with the job that still creates them. */
export const TableCreation = closed({
  tables: Type.Array(Table),
  warnings: Type.Array(Type.String()),
  job: nullable(Job),
})
/** Answer of POST …/tables: 201 with the tables, or 202 with the job that still creates them. */
export type TableCreation = Static<typeof TableCreation>

/** What introspection makes of one table. */
export const TableSuggestion = closed({
  name: Type.String({ description: 'with its schema: public.users' }),
  declared: Type.Boolean(),
  estimated_rows: nullable(
    Type.Integer({ minimum: 0, description: 'null when the table was never analysed' }),
  ),
  kind: TableKindSchema,
  key_column: nullable(Type.String()),
  key_type: nullable(KeyTypeSchema),
  reason: Type.String({ description: 'why this kind and this key' }),
  obstacle: nullable(
    Type.String({ description: 'what must change before such a declaration passes; null when it passes' }),
  ),
})
/** What introspection makes of one table. */
export type TableSuggestion = Static<typeof TableSuggestion>

/** Answer of GET …/tables/suggestions. */
export const TableSuggestionList = closed({ suggestions: Type.Array(TableSuggestion) })
/** Answer of GET …/tables/suggestions. */
export type TableSuggestionList = Static<typeof TableSuggestionList>
