// What may not happen while rows are being moved: each refusal names the job and the way out.
import { FleetError, type JobRecord, type KeyspaceName } from '@fleetshard/core'
import { parseReshardJobDetail, reshardJobType } from '../../../engine/mod.ts'
import type { Work } from '../parts.ts'

/** Jobs of the keyspace that move rows now. */
export function openReshardJobs(
  { parts }: Pick<Work, 'parts'>,
  keyspace: KeyspaceName,
): readonly JobRecord[] {
  return [...parts.fleet.state().jobs.values()]
    .map(({ record }) => record)
    .filter(({ type, status }) => type === reshardJobType && (status === 'pending' || status === 'running'))
    .filter((job) => job.keyspace === keyspace)
}

/** Ids of a job's shards. */
export function shardsOf(job: JobRecord): readonly string[] {
  const { sources, targets } = parseReshardJobDetail(job.detail)
  return [...sources, ...targets.map(({ shard }) => shard)]
}

/** @throws FleetError `conflict` for a change of tables, which a job under way could not follow */
export function refuseTablesDuringReshard(work: Pick<Work, 'parts'>, keyspace: KeyspaceName): void {
  const [job] = openReshardJobs(work, keyspace)
  if (job !== undefined) throw busy(`the tables of ${keyspace}`, job)
}

/** @throws FleetError `conflict` for a change of a shard that a job moves rows from or to */
export function refuseShardDuringReshard(
  work: Pick<Work, 'parts'>,
  { id, keyspace }: { readonly id: string; readonly keyspace: KeyspaceName },
): void {
  const job = openReshardJobs(work, keyspace).find((one) => shardsOf(one).includes(id))
  if (job !== undefined) throw busy(`the shard ${id}`, job)
}

function busy(what: string, { id }: JobRecord): FleetError {
  return new FleetError('conflict', `the job ${id} is moving rows of ${what}`, {
    hint: `wait until it has ended, or cancel it: fleetshard reshard cancel ${id}`,
    facts: { job_id: id },
  })
}
