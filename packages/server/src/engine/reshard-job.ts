// The detail of a `reshard` job: written by the manager that creates it, read and carried on by the reshard worker.
// It lives here because both may import the engine and neither may import the other.
import { FleetError, type ShardId, type Term } from '@fleetshard/core'
import Type, { type Static } from 'typebox'
import { compiledOnUse } from '@fleetshard/core/contract'

/** `type` of the job's record. */
export const reshardJobType = 'reshard'
/** Most sources, and most targets, of one job: the flip is one commit of the catalog. */
export const reshardShardsMax = 16

const shardId = Type.Unsafe<ShardId>(Type.String({ minLength: 1, maxLength: 63 }))
const textOrNull = Type.Union([Type.String(), Type.Null()])
const count = Type.Number({ minimum: 0 })

const failure = Type.Object({
  code: Type.String(),
  message: Type.String(),
  hint: textOrNull,
  sqlstate: Type.String(),
})

const verification = Type.Object({
  /** ISO 8601. */
  at: Type.String(),
  rows: count,
  /** Described for people; empty when source and targets are alike. */
  differences: Type.Array(Type.String(), { maxItems: 20 }),
})

const figures = Type.Object({
  /** ISO 8601. */
  at: Type.String(),
  /** Time that a change takes from the source's commit to the targets. */
  lagMs: count,
  lagBytes: count,
  retainedWalBytes: count,
  replicaLagBytes: count,
  rowsPerSecond: count,
  bytesPerSecond: count,
  /** To the end of the copy; null while nothing is known. */
  etaMs: Type.Union([count, Type.Null()]),
  /** Why the copy waits; null when it does not. */
  throttle: textOrNull,
})

const wayBack = Type.Object({
  /** Positions on the targets: what is committed above them goes back. */
  from: Type.Record(Type.String(), Type.String()),
  /** Tokens that the sources had, as their records had them. */
  vnodes: Type.Record(Type.String(), Type.String()),
  /** ISO 8601: when the phase ends by itself. */
  until: Type.String(),
  /** Why it ended before; null while it lasts, and when it ended by its time or by the operator. */
  lostBecause: textOrNull,
})

const orders = ['run', 'pause', 'cancel', 'reverse', 'complete'] as const

const detail = Type.Object({
  kind: Type.Unsafe<'split' | 'merge' | 'move' | 'rebalance'>(
    Type.Enum(['split', 'merge', 'move', 'rebalance']),
  ),
  sources: Type.Array(shardId, { minItems: 1, maxItems: reshardShardsMax }),
  targets: Type.Array(Type.Object({ shard: shardId, vnodeCount: Type.Integer({ minimum: 1 }) }), {
    minItems: 1,
    maxItems: reshardShardsMax,
  }),
  /** Last hash of the first of two parts, decimal; null for equal parts. */
  splitPoint: textOrNull,
  /** Of a split: the source stays and keeps the first part. */
  keepSource: Type.Optional(Type.Boolean()),
  /** What the operator wants; written by managers only. */
  order: Type.Unsafe<(typeof orders)[number]>(Type.Enum([...orders])),
  /** How long the rows can be brought back after the flip; 0, or missing: not at all. */
  reversibleMs: Type.Optional(count),
  /** Written by the flip of a job with a reversible phase. */
  wayBack: Type.Optional(wayBack),
  /** +1 by every worker that takes the job. */
  run: Type.Integer({ minimum: 0 }),
  /** Stands for the ranges that change hands, as they were at preflight. */
  ranges: textOrNull,
  tables: Type.Union([
    Type.Array(Type.Object({ name: Type.String(), signature: Type.String() })),
    Type.Null(),
  ]),
  /** Terms of all shards concerned at preflight; before it, of a job that begins anew, when its traces were removed. */
  terms: Type.Record(Type.String(), Type.Unsafe<Term>(Type.Integer({ minimum: 0 }))),
  /** True from the moment that every slot is there: one that is missing then was lost. */
  hasSlots: Type.Boolean(),
  /** Number of the last attempt at a cutover. */
  attempt: Type.Integer({ minimum: 0 }),
  /** Units copied anew. */
  recopies: Type.Integer({ minimum: 0 }),
  /** How often the copy has begun anew, since another node became primary; missing for never. */
  restarts: Type.Optional(Type.Integer({ minimum: 0 })),
  rowsTotal: count,
  rowsCopied: count,
  bytesTotal: count,
  bytesCopied: count,
  /** As the copy saw them last; missing before it, and in jobs of older versions. */
  figures: Type.Optional(figures),
  verification: Type.Union([verification, Type.Null()]),
  /** How long statements were held by the flip. */
  holdMs: Type.Union([count, Type.Null()]),
  /** Why the job waits or was let go last; null when nothing is in its way. */
  waitsFor: textOrNull,
  failure: Type.Union([failure, Type.Null()]),
})

/** Input and working state of a reshard job. */
export type ReshardJobDetail = Static<typeof detail>

const checker = compiledOnUse(detail)

/** The detail of a job that has not begun: state `planned`, status `pending`. */
export function newReshardJobDetail(
  input: Pick<
    ReshardJobDetail,
    'kind' | 'sources' | 'targets' | 'splitPoint' | 'keepSource' | 'reversibleMs'
  >,
): ReshardJobDetail {
  return {
    ...input,
    order: 'run',
    run: 0,
    ranges: null,
    tables: null,
    terms: {},
    hasSlots: false,
    attempt: 0,
    recopies: 0,
    rowsTotal: 0,
    rowsCopied: 0,
    bytesTotal: 0,
    bytesCopied: 0,
    verification: null,
    holdMs: null,
    waitsFor: null,
    failure: null,
  }
}

/** @throws FleetError `corrupt_record` */
export function parseReshardJobDetail(value: unknown): ReshardJobDetail {
  if (checker().Check(value)) return value
  throw new FleetError('corrupt_record', 'the detail of a reshard job does not have the form of this version')
}
