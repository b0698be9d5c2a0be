// Contract of /api/v1/reshard: splits, merges, moves and rebalancing, and the jobs that carry them out.
import { Type, type Static } from 'typebox'
import {
  EndpointSchema,
  HashPositionSchema,
  IdSchema,
  KeyspaceNameSchema,
  TimeSchema,
  VersionSchema,
  closed,
  nullable,
  oneOf,
} from './schema.ts'

/** A shard that is to get rows: made anew from endpoints or embedded servers, or one that owns nothing yet. */
export const ReshardTarget = closed({
  name: Type.String({
    pattern: '^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$',
    examples: ['shard-02'],
    description: 'of a new shard; of a standing one when neither primary_endpoint nor nodes is given',
  }),
  primary_endpoint: Type.Optional(EndpointSchema),
  replicas: Type.Optional(Type.Array(EndpointSchema, { maxItems: 16 })),
  nodes: Type.Optional(oneOf(['embedded'], 'starts a fresh local node group instead of given endpoints')),
  replica_count: Type.Optional(Type.Integer({ minimum: 0, maximum: 5 })),
  vnode_count: Type.Optional(Type.Integer({ minimum: 1, maximum: 4096, description: '256 by default' })),
})
/** A shard that is to get rows. */
export type ReshardTarget = Static<typeof ReshardTarget>

const targetsSchema = Type.Array(ReshardTarget, { minItems: 1, maxItems: 16 })

const reversible_seconds = Type.Optional(
  Type.Integer({
    minimum: 0,
    maximum: 604_800,
    description: 'for how long the rows can be brought back afterwards; 0, the default: not at all',
  }),
)

/** Body of POST /api/v1/reshard/split. */
export const SplitShard = closed({
  source_shard_id: IdSchema,
  target_shards: targetsSchema,
  split_point: Type.Optional(HashPositionSchema),
  keep_source: Type.Optional(
    Type.Boolean({ description: 'true: the source stays, and keeps the first part of its ranges' }),
  ),
  reversible_seconds,
  dry_run: Type.Optional(Type.Boolean({ description: 'tell what would be moved, and make nothing' })),
})
/** Body of POST /api/v1/reshard/split: the ranges of one shard are divided among others. */
export type SplitShard = Static<typeof SplitShard>

/** Body of POST /api/v1/reshard/merge. */
export const MergeShards = closed({
  source_shard_ids: Type.Array(IdSchema, { minItems: 2, maxItems: 16 }),
  target_shard: ReshardTarget,
  reversible_seconds,
  dry_run: Type.Optional(Type.Boolean()),
})
/** Body of POST /api/v1/reshard/merge: one shard gets the ranges of several. */
export type MergeShards = Static<typeof MergeShards>

/** Body of POST /api/v1/reshard/move. */
export const MoveShard = closed({
  source_shard_id: IdSchema,
  target_shard: ReshardTarget,
  reversible_seconds,
  dry_run: Type.Optional(Type.Boolean()),
})
/** Body of POST /api/v1/reshard/move: another shard, on other servers, gets all ranges of one. */
export type MoveShard = Static<typeof MoveShard>

/** Body of POST /api/v1/reshard/rebalance. */
export const RebalanceShards = closed({
  keyspace: Type.Optional(KeyspaceNameSchema),
  target_shard: ReshardTarget,
  reversible_seconds,
  dry_run: Type.Optional(Type.Boolean()),
})
/** Body of POST /api/v1/reshard/rebalance: a shard gets its share of the ranges from all that own some. */
export type RebalanceShards = Static<typeof RebalanceShards>

/** What a dry run tells. */
export const ReshardPlan = closed({
  type: oneOf(['split', 'merge', 'move', 'rebalance']),
  source_shards: Type.Array(IdSchema),
  target_shards: Type.Array(Type.String()),
  /** How much of the hash space each target gets, 0 to 1, in the order of the targets. */
  target_shares: Type.Array(Type.Number({ minimum: 0, maximum: 1 })),
  ranges: Type.Integer({ minimum: 0, description: 'ranges of the ring that change hands' }),
  tables: Type.Array(Type.String(), { description: 'whose rows would move' }),
  rows: Type.Integer({ minimum: 0, description: "of the sources' tables, estimated" }),
  bytes: Type.Integer({ minimum: 0, description: 'with indexes' }),
  reversible_seconds: Type.Integer({
    minimum: 0,
    description: 'for how long the rows could be brought back',
  }),
  not_reversible_because: nullable(Type.String({ description: 'why they could not, whatever is asked for' })),
  held: Type.String({ description: 'what would wait at the cutover' }),
})
/** What a dry run tells. */
export type ReshardPlan = Static<typeof ReshardPlan>

/** A split, merge, move or rebalance on its way. */
export const ReshardJob = closed({
  id: IdSchema,
  type: oneOf(['split', 'merge', 'move', 'rebalance']),
  keyspace: KeyspaceNameSchema,
  source_shards: Type.Array(IdSchema),
  target_shards: Type.Array(IdSchema),
  status: oneOf(['pending', 'precopy', 'deltasync', 'cutover', 'completed', 'failed', 'cancelled', 'paused']),
  phase: Type.String({ description: "the worker's own, finer state" }),
  progress: Type.Number({ minimum: 0, maximum: 1 }),
  keys_migrated: Type.Integer({ minimum: 0, description: 'rows copied' }),
  total_keys: Type.Integer({ minimum: 0, description: 'rows to be copied; an estimate until they are' }),
  bytes_migrated: Type.Integer({ minimum: 0 }),
  total_bytes: Type.Integer({ minimum: 0 }),
  lag_ms: nullable(Type.Integer({ minimum: 0, description: 'from a commit on the source to the targets' })),
  lag_bytes: nullable(Type.Integer({ minimum: 0, description: 'log of the source that the targets lack' })),
  retained_wal_bytes: nullable(Type.Integer({ minimum: 0, description: 'log held back by the slot' })),
  rows_per_second: nullable(Type.Integer({ minimum: 0 })),
  bytes_per_second: nullable(Type.Integer({ minimum: 0 })),
  eta_ms: nullable(Type.Integer({ minimum: 0, description: 'to the end of the copy, as fast as it is now' })),
  throttle: nullable(Type.String({ description: 'why the copy waits for its source' })),
  order: oneOf(['run', 'pause', 'cancel', 'reverse', 'complete'], 'what the operator asked for last'),
  verify: nullable(closed({ at: TimeSchema, rows: Type.Integer(), differences: Type.Array(Type.String()) })),
  hold_ms: nullable(Type.Number({ description: 'how long statements were held by the last cutover' })),
  reversible_until: nullable(
    Type.String({ description: 'until when, after the cutover, the rows can be brought back by `reverse`' }),
  ),
  not_reversible_because: nullable(Type.String({ description: 'why the way back ended before its time' })),
  waits_for: nullable(Type.String({ description: 'what is in the way at the moment' })),
  error_code: nullable(Type.String()),
  error_message: nullable(Type.String()),
  version: VersionSchema,
  created_at: TimeSchema,
  started_at: nullable(TimeSchema),
  completed_at: nullable(TimeSchema),
})
/** A split, merge, move or rebalance on its way. */
export type ReshardJob = Static<typeof ReshardJob>
