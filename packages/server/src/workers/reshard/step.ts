// What the steps of a reshard job share: the shards concerned with a way to each, names, and checkpoints for tests.
import { FleetError, type KeyspaceSnapshot, type ShardId, type ShardRecord } from '@fleetshard/core'
import type { StoredKeyspace } from '../../catalog/mod.ts'
import type { MovedTable, NodeTarget, ReshardEngine, SourceFence, SourceNames } from '../../engine/mod.ts'
import type { JobRun, WorkerParts } from '../worker.ts'
import type { ReshardJob } from './job-store.ts'
import type { ThrottleBounds } from './throttle.ts'

/** Called before and after each effect, in tests that end the worker there. */
export type Checkpoint = (name: string) => void | Promise<void>

/** What every step of one job acts with. */
export interface ReshardStep {
  readonly parts: WorkerParts
  readonly run: JobRun
  readonly engine: ReshardEngine
  readonly unitRowsMax: number
  /** How long a row of one source waits for that of another to make room. */
  readonly meetMsMax: number
  readonly throttleBounds: ThrottleBounds
  /** Runs an effect between two checkpoints. */
  readonly effect: <T>(name: string, work: () => Promise<T>) => Promise<T>
}

/** A shard of the job with its primary. */
export interface Place {
  readonly shard: ShardRecord
  readonly target: NodeTarget
}

/** The keyspace as it is now. @throws FleetError `not_found` */
export async function readKeyspace(step: ReshardStep, job: ReshardJob): Promise<StoredKeyspace> {
  const { keyspace } = job.stored.record
  const stored = await step.parts.catalog.keyspaces.read(keyspace, step.run.signal)
  if (stored !== null) return stored
  throw new FleetError('not_found', `there is no keyspace ${keyspace}`)
}

/** Those of the shards that exist, each with its primary. @throws FleetError `shard_unavailable`, `secret_unavailable` */
export async function placesOf(
  step: ReshardStep,
  snapshot: KeyspaceSnapshot,
  ids: readonly ShardId[],
): Promise<readonly Place[]> {
  const shards = ids.flatMap((id) => snapshot.shards.find((shard) => shard.id === id) ?? [])
  return Promise.all(
    shards.map(async (shard) => {
      const primary = shard.nodes.find(({ role }) => role === 'primary')
      if (primary === undefined) {
        throw new FleetError('shard_unavailable', `shard ${shard.id} has no primary`, {
          hint: 'see fleetshard shard get, and promote a replica',
        })
      }
      return { shard, target: await step.parts.targetOf(primary, step.run.signal) }
    }),
  )
}

/** Ids of the job's shards. */
export const sourcesOf = ({ detail }: ReshardJob): readonly ShardId[] => detail.sources
export const targetsOf = ({ detail }: ReshardJob): readonly ShardId[] =>
  detail.targets.map(({ shard }) => shard)

const nameCharsMax = 63

/** Slot and publication of a source: 63 characters of the alphabet of slots, told apart by the ids at their ends. */
export function namesOf(job: ReshardJob, source: ShardId): SourceNames {
  return named(source, `fleetshard_${plain(job.stored.record.id).slice(-20)}`, sourcesOf(job))
}

/** The same of a target, for the way back. */
export function backNamesOf(job: ReshardJob, target: ShardId): SourceNames {
  return named(target, `fleetshard_back_${plain(job.stored.record.id).slice(-20)}`, targetsOf(job))
}

const plain = (text: string): string => text.toLowerCase().replaceAll(/[^a-z0-9_]/g, '_')

function named(shard: ShardId, prefix: string, shards: readonly ShardId[]): SourceNames {
  const name = `${prefix}_${String(shards.indexOf(shard))}_${plain(shard)}`.slice(0, nameCharsMax)
  return { slot: name, publication: name }
}

/** The fence of the attempt on a source. */
export function fenceOf(
  job: ReshardJob,
  source: ShardId,
  tables: readonly MovedTable[],
  lockTimeoutMs: number,
): SourceFence {
  const { attempt, run } = job.detail
  const { id } = job.stored.record
  return { shard: source, job: id, run, attempt, tables, message: fenceMark(job, source), lockTimeoutMs }
}

/** The message that ends the stream of an attempt. */
export function fenceMark(job: ReshardJob, source: ShardId): string {
  return `${job.stored.record.id}:fence:${source}:${String(job.detail.attempt)}`
}

/** Every fence that the job may have placed so far. */
export function fencesOf({ stored, detail }: ReshardJob) {
  return { job: stored.record.id, run: detail.run, attempt: detail.attempt }
}
