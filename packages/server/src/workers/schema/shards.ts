// What a schema job does to one shard, and to several at once within bounds.
import { FleetError, isFleetError, toFleetError, type ShardId, type ShardRecord } from '@fleetshard/core'
import {
  type NodeTarget,
  type SchemaChange,
  type SchemaScript,
  type ShardEngine,
  type TableDeclaration,
} from '../../engine/mod.ts'
import type { WorkerParts } from '../worker.ts'

/** Shards worked on at once. */
export const shardsAtOnceMax = 16
/** Deadline of one step on one shard. */
export const shardStepMsMax = 60_000

/** Begins the gid of every prepared transaction of a schema job. */
export const gidPrefix = 'fleetshard_ddl:'

/** Ids hold no colon, so that the parts can be told apart. */
export function gidOf(job: string, shard: ShardId): string {
  return `${gidPrefix}${job}:${shard}`
}

/** The job of a gid; null for one that is not ours. */
export function jobOfGid(gid: string): string | null {
  return /^fleetshard_ddl:([A-Za-z0-9_-]+):[A-Za-z0-9_-]+$/.exec(gid)?.[1] ?? null
}

/** One shard in reach. */
export interface ReachedShard {
  readonly shard: ShardRecord
  readonly engine: ShardEngine
  readonly target: NodeTarget
}

/** @throws FleetError `shard_unavailable` for a shard without a primary, `secret_unavailable` */
export async function reach(
  parts: WorkerParts,
  engine: ShardEngine,
  shard: ShardRecord,
  signal: AbortSignal,
): Promise<ReachedShard> {
  const primary = shard.nodes.find(({ role }) => role === 'primary')
  if (primary === undefined) {
    throw new FleetError('shard_unavailable', `shard ${shard.id} has no primary`, {
      hint: 'see fleetshard shard get, and promote a replica',
    })
  }
  return { shard, engine, target: await parts.targetOf(primary, signal) }
}

/** The change for one shard. */
export function changeFor(
  shard: ShardRecord,
  script: SchemaScript,
  tables: {
    readonly declarations: readonly TableDeclaration[]
    readonly declared: readonly TableDeclaration[]
  },
): SchemaChange {
  return {
    shard: shard.id,
    statements: script.statements.map(({ sql }) => sql),
    declarations: tables.declarations,
    declared: tables.declared,
    sequenceBlock: shard.sequenceBlock,
  }
}

/** The outcome of one shard; an error that is not of the catalogue (a defect, a crash) is thrown instead. */
export type ShardResult<T> =
  | { readonly shard: ShardId; readonly kind: 'done'; readonly value: T }
  | { readonly shard: ShardId; readonly kind: 'error'; readonly error: FleetError }

/** Works on all shards, `shardsAtOnceMax` at a time, and waits for all of them also when one fails. */
export async function onShards<T>(
  shards: readonly ShardRecord[],
  signal: AbortSignal,
  work: (shard: ShardRecord) => Promise<T>,
): Promise<readonly ShardResult<T>[]> {
  const results: ShardResult<T>[] = []
  const queue = [...shards]
  const lane = async (): Promise<void> => {
    for (let shard = queue.shift(); shard !== undefined; shard = queue.shift()) {
      signal.throwIfAborted()
      try {
        results.push({ shard: shard.id, kind: 'done', value: await work(shard) })
      } catch (error) {
        signal.throwIfAborted()
        if (!isFleetError(error)) throw error
        results.push({ shard: shard.id, kind: 'error', error: toFleetError(error) })
      }
    }
  }
  const lanes = await Promise.allSettled(Array.from({ length: shardsAtOnceMax }, lane))
  for (const ended of lanes) if (ended.status === 'rejected') throw ended.reason
  return results
}

/** The first error, told with its shard; null when there is none. */
export function firstError<T>(results: readonly ShardResult<T>[]): FleetError | null {
  const failed = results.find((result) => result.kind === 'error')
  if (failed?.kind !== 'error') return null
  const { error } = failed
  return new FleetError(error.code, `shard ${failed.shard}: ${error.message}`, {
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    sqlstate: error.sqlstate,
    cause: error,
  })
}
