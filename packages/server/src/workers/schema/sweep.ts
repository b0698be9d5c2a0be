// Ends prepared transactions of schema jobs that nobody will end any more: their job has ended (a shard could not be
// reached then, a worker slept) or is unknown. Jobs under way are left to their worker.
import { isFleetError, parseJobId, type JobRecord, type ShardRecord } from '@fleetshard/core'
import { schemaJobType } from '../../engine/mod.ts'
import type { WorkerParts } from '../worker.ts'
import { isDecidedToCommit, parseSchemaState } from './machine.ts'
import { gidPrefix, jobOfGid, reach, shardStepMsMax } from './shards.ts'

/** A job is written before its first effect, so that an unknown one is no young one; this allows for a stale read. */
const unknownJobAgeMsMin = 60_000

/** One look at every shard of every keyspace; a shard that can't be reached is passed over until the next time. */
export async function sweepPrepared(parts: WorkerParts, signal: AbortSignal): Promise<void> {
  for (const { record } of await parts.catalog.keyspaces.list(signal)) {
    for (const shard of await parts.catalog.shards.list(record.name, signal)) {
      try {
        await sweepShard(parts, shard.record, signal)
      } catch (error) {
        signal.throwIfAborted()
        if (!isFleetError(error)) throw error
        parts.log.debug({ err: error, shard: shard.record.id }, 'shard not swept')
      }
    }
  }
}

async function sweepShard(parts: WorkerParts, shard: ShardRecord, signal: AbortSignal): Promise<void> {
  const { engine, target } = await reach(parts, parts.engineOf('postgres'), shard, signal)
  const bounds = { signal, timeoutMs: shardStepMsMax }
  for (const { gid, ageMs } of await engine.listPrepared(target, gidPrefix, bounds)) {
    const decision = await decide(parts, gid, ageMs, signal)
    if (decision === null) continue
    const found = await engine.finishPrepared(target, gid, decision, bounds)
    parts.log.warn({ shard: shard.id, gid, decision, found }, 'ended a schema change that was left behind')
  }
}

async function decide(
  parts: WorkerParts,
  gid: string,
  ageMs: number,
  signal: AbortSignal,
): Promise<'commit' | 'rollback' | null> {
  const id = jobOfGid(gid)
  if (id === null) return null
  const job = await parts.catalog.jobs.get(parseJobId(id), signal)
  if (job === null) return ageMs >= unknownJobAgeMsMin ? 'rollback' : null
  return decisionOf(job.record)
}

/** What a job's record says about its prepared transactions; null while its worker will end them. Pure. */
export function decisionOf(job: JobRecord): 'commit' | 'rollback' | null {
  if (job.type !== schemaJobType) return null
  const committed = isDecidedToCommit(parseSchemaState(job.state))
  switch (job.status) {
    case 'pending':
    case 'running':
      return null
    case 'completed':
    case 'failed':
    case 'cancelled':
      return committed ? 'commit' : 'rollback'
  }
}
