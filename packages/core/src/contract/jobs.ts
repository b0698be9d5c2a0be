// Contract of /api/v1/jobs.
import { Type, type Static } from 'typebox'
import { IdSchema, KeyspaceNameSchema, TimeSchema, VersionSchema, closed, nullable, oneOf } from './schema.ts'

const JobStatusSchema = oneOf(['pending', 'running', 'completed', 'failed', 'cancelled'])

/** A persisted workflow. */
export const Job = closed({
  id: IdSchema,
  type: Type.String({ examples: ['schema'] }),
  keyspace: KeyspaceNameSchema,
  status: JobStatusSchema,
  phase: Type.String({ description: "the worker's own, finer state" }),
  progress: Type.Number({ minimum: 0, maximum: 1 }),
  error_code: nullable(Type.String()),
  error_message: nullable(Type.String()),
  version: VersionSchema,
  created_at: TimeSchema,
  started_at: nullable(TimeSchema),
  completed_at: nullable(TimeSchema),
})
/** A persisted workflow. */
export type Job = Static<typeof Job>

/** Answer of GET /api/v1/jobs, newest first. */
export const JobList = closed({ jobs: Type.Array(Job) })
/** Answer of GET /api/v1/jobs, newest first. */
export type JobList = Static<typeof JobList>

/** Query of GET /api/v1/jobs. */
export const JobListQuery = closed({
  keyspace: Type.Optional(KeyspaceNameSchema),
  status: Type.Optional(JobStatusSchema),
  type: Type.Optional(Type.String({ maxLength: 63 })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, description: '100 by default' })),
})
/** Query of GET /api/v1/jobs. */
export type JobListQuery = Static<typeof JobListQuery>
