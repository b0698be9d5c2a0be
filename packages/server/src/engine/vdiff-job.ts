// The detail of a `vdiff` job: written by the manager that creates it, carried on by the vdiff worker.
import { FleetError, type ShardId } from '@fleetshard/core'
import { compiledOnUse } from '@fleetshard/core/contract'
import Type, { type Static } from 'typebox'

/** `type` of the job's record. */
export const vdiffJobType = 'vdiff'
/** Most tables of one job, and most samples of one table: the record has a bound. */
export const vdiffTablesMax = 100
export const vdiffSamplesMax = 10
/** Differences of one table that are counted; what lies beyond is not looked for. */
export const vdiffDifferencesMax = 1_000

const shardId = Type.Unsafe<ShardId>(Type.String({ minLength: 1, maxLength: 63 }))
const count = Type.Integer({ minimum: 0 })

/** What may be wrong with a row. */
export const vdiffKinds = ['missing', 'extra', 'different', 'misplaced', 'duplicated'] as const

/** What may be wrong with a row. */
export type VdiffKind = (typeof vdiffKinds)[number]

const sample = Type.Object({
  kind: Type.Unsafe<VdiffKind>(Type.Enum([...vdiffKinds])),
  /** The primary key as text, shortened. */
  key: Type.String({ maxLength: 200 }),
  /** Where. */
  shards: Type.Array(Type.String({ maxLength: 63 }), { maxItems: 16 }),
})

const tableResult = Type.Object({
  name: Type.String(),
  rows: count,
  missing: count,
  extra: count,
  different: count,
  misplaced: count,
  duplicated: count,
  /** There were more than are counted. */
  isCut: Type.Boolean(),
  samples: Type.Array(sample, { maxItems: vdiffSamplesMax }),
})

/** What was found in one table. */
export type VdiffTable = Static<typeof tableResult>

const detail = Type.Object({
  /** The shards of the keyspace among each other; or the sources and targets of a job that moved rows. */
  compares: Type.Union([
    Type.Object({ kind: Type.Literal('shards') }),
    Type.Object({
      kind: Type.Literal('job'),
      job: Type.String(),
      sources: Type.Array(shardId, { minItems: 1 }),
      targets: Type.Array(shardId, { minItems: 1 }),
    }),
  ]),
  /** Qualified names; all declared ones when null. */
  tables: Type.Union([Type.Array(Type.String(), { maxItems: vdiffTablesMax }), Type.Null()]),
  /** +1 by every worker that takes the job. */
  run: count,
  /** Of the tables that are done. */
  results: Type.Array(tableResult, { maxItems: vdiffTablesMax }),
  waitsFor: Type.Union([Type.String(), Type.Null()]),
})

/** Input and results of a vdiff job. */
export type VdiffJobDetail = Static<typeof detail>

const checker = compiledOnUse(detail)

/** The detail of a job that has not begun. */
export function newVdiffJobDetail(input: Pick<VdiffJobDetail, 'compares' | 'tables'>): VdiffJobDetail {
  return { ...input, run: 0, results: [], waitsFor: null }
}

/** @throws FleetError `corrupt_record` */
export function parseVdiffJobDetail(value: unknown): VdiffJobDetail {
  if (checker().Check(value)) return value
  throw new FleetError('corrupt_record', 'the detail of a vdiff job does not have its form')
}

/** Differences of a table, all kinds together. */
export const differencesOf = (table: VdiffTable): number =>
  vdiffKinds.reduce((sum, kind) => sum + table[kind], 0)
