// Contract of /api/v1/shards.
import { Type, type Static } from 'typebox'
import { ShardNode } from './nodes.ts'
import {
  EndpointSchema,
  HashPositionSchema,
  IdSchema,
  KeyspaceNameSchema,
  TimeSchema,
  VersionSchema,
  agentChoice,
  closed,
  nullable,
  oneOf,
} from './schema.ts'

/** States of a shard that a request may set; `migrating` belongs to jobs. */
const SettableStatusSchema = oneOf(['active', 'readonly', 'inactive'])

/** Name of a shard: unique in its keyspace, shown to people. */
const ShardNameSchema = Type.String({
  pattern: '^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$',
  examples: ['shard-01'],
})

/** Hash positions from `start` to `end`, both inclusive. */
export const HashRange = closed({ start: HashPositionSchema, end: HashPositionSchema })
/** Hash positions from `start` to `end`, both inclusive. */
export type HashRange = Static<typeof HashRange>

/** Fields of a shard that its own record gives, whatever the rest of the ring is. */
export const shardRecordFields = {
  id: IdSchema,
  name: ShardNameSchema,
  keyspace: KeyspaceNameSchema,
  status: oneOf(['active', 'migrating', 'readonly', 'inactive']),
  status_reason: nullable(Type.String({ description: 'why the shard is not active' })),
  version: VersionSchema,
  term: Type.Integer({ minimum: 0, description: 'leadership version, +1 at every promotion' }),
  vnode_count: Type.Integer({ minimum: 0 }),
  vnodes: Type.Optional(
    Type.Array(HashPositionSchema, {
      description: 'tokens of the shard, ascending; left out by ?vnodes=false',
    }),
  ),
  primary_endpoint: nullable(Type.String({ description: 'postgres:// URL without the password' })),
  replicas: Type.Array(Type.String({ description: 'postgres:// URL without the password' })),
  nodes: Type.Array(ShardNode),
  leftovers_job_id: Type.Optional(
    Type.Unsafe<string>({
      ...IdSchema,
      description:
        'the job that removes rows of ranges which the shard has given away; there until it has ended',
    }),
  ),
  created_at: TimeSchema,
} as const

/** One shard with what it owns at the keyspace's epoch. */
export const Shard = closed({
  ...shardRecordFields,
  epoch: Type.Integer({ minimum: 0, description: 'version of the shard map that the ranges are of' }),
  hash_range_start: nullable(HashPositionSchema),
  hash_range_end: nullable(HashPositionSchema),
  ranges: Type.Optional(
    Type.Array(HashRange, { description: 'what the shard owns, ascending; left out by ?vnodes=false' }),
  ),
})
/** One shard; `hash_range_start` and `_end` are null when it owns nothing or several ranges. */
export type Shard = Static<typeof Shard>

/** Answer of GET /api/v1/shards. */
export const ShardList = closed({ shards: Type.Array(Shard) })
/** Answer of GET /api/v1/shards. */
export type ShardList = Static<typeof ShardList>

/** Query of GET /api/v1/shards. */
export const ShardListQuery = closed({
  keyspace: Type.Optional(KeyspaceNameSchema),
  status: Type.Optional(oneOf(['active', 'migrating', 'readonly', 'inactive'])),
  vnodes: Type.Optional(Type.Boolean({ description: 'false leaves out vnodes and ranges' })),
})
/** Query of GET /api/v1/shards. */
export type ShardListQuery = Static<typeof ShardListQuery>

/** Query of GET /api/v1/shards/{id}. */
export const ShardQuery = closed({
  vnodes: Type.Optional(Type.Boolean({ description: 'false leaves out vnodes and ranges' })),
})

/** Body of POST /api/v1/shards: either `primary_endpoint` or `nodes: "embedded"`. */
export const CreateShard = closed(
  {
    name: ShardNameSchema,
    keyspace: Type.Optional(KeyspaceNameSchema),
    primary_endpoint: Type.Optional(EndpointSchema),
    replicas: Type.Optional(Type.Array(EndpointSchema, { maxItems: 16 })),
    nodes: Type.Optional(oneOf(['embedded'], 'starts a fresh local node group instead of given endpoints')),
    replica_count: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 5,
        description: 'replicas of an embedded node group; 0 by default',
      }),
    ),
    agent: agentChoice('the agent that runs an embedded node group; any by default'),
    vnode_count: Type.Optional(Type.Integer({ minimum: 1, maximum: 4096, description: '256 by default' })),
  },
  'either primary_endpoint with its replicas, or nodes: "embedded"',
  {
    name: 'shard-01',
    primary_endpoint: 'postgres://app:secret@db-1.internal:5432/app',
    replicas: ['postgres://app:secret@db-2.internal:5432/app'],
    vnode_count: 256,
  },
)
/** Body of POST /api/v1/shards: either `primary_endpoint` or `nodes: "embedded"`. */
export type CreateShard = Static<typeof CreateShard>

/** Body of PATCH /api/v1/shards/{id}; at least one field. `replicas` replaces the whole list. */
export const PatchShard = closed({
  name: Type.Optional(ShardNameSchema),
  status: Type.Optional(SettableStatusSchema),
  replicas: Type.Optional(Type.Array(EndpointSchema, { maxItems: 16 })),
})
/** Body of PATCH /api/v1/shards/{id}; at least one field. `replicas` replaces the whole list. */
export type PatchShard = Static<typeof PatchShard>
