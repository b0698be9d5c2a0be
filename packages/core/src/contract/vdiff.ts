// Contract of /api/v1/vdiff: comparing the rows of shards.
import { Type, type Static } from 'typebox'
import { IdSchema, KeyspaceNameSchema, TimeSchema, VersionSchema, closed, nullable, oneOf } from './schema.ts'

/** Body of POST /api/v1/vdiff. */
export const CreateVdiff = closed({
  keyspace: Type.Optional(KeyspaceNameSchema),
  tables: Type.Optional(
    Type.Array(Type.String({ minLength: 1, maxLength: 200 }), {
      minItems: 1,
      maxItems: 100,
      description: 'declared tables; all of them if left out',
    }),
  ),
  job_id: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 63,
      description:
        'a finished split, merge or move: compares its sources with its targets, instead of all shards',
    }),
  ),
})
/** Body of POST /api/v1/vdiff. */
export type CreateVdiff = Static<typeof CreateVdiff>

const count = Type.Integer({ minimum: 0 })

/** What was found in one table. */
export const VdiffTable = closed({
  name: Type.String(),
  rows: count,
  missing: count,
  extra: count,
  different: count,
  misplaced: count,
  duplicated: count,
  has_more: Type.Boolean({ description: 'more differ than were counted' }),
  samples: Type.Array(
    closed({
      kind: oneOf(['missing', 'extra', 'different', 'misplaced', 'duplicated']),
      key: Type.String({ description: 'primary key, as Postgres prints a row' }),
      shards: Type.Array(Type.String()),
    }),
  ),
})
/** What was found in one table. */
export type VdiffTable = Static<typeof VdiffTable>

/** A comparison on its way, with the tables that are done. */
export const VdiffJob = closed({
  id: IdSchema,
  keyspace: KeyspaceNameSchema,
  job_id: nullable(IdSchema),
  status: oneOf(['pending', 'running', 'completed', 'failed', 'cancelled']),
  progress: Type.Number({ minimum: 0, maximum: 1 }),
  tables: Type.Array(VdiffTable),
  differences: Type.Integer({ minimum: 0, description: 'of all tables and kinds' }),
  waits_for: nullable(Type.String({ description: 'what is in the way at the moment' })),
  error_code: nullable(Type.String()),
  error_message: nullable(Type.String()),
  version: VersionSchema,
  created_at: TimeSchema,
  started_at: nullable(TimeSchema),
  completed_at: nullable(TimeSchema),
})
/** A comparison on its way. */
export type VdiffJob = Static<typeof VdiffJob>
